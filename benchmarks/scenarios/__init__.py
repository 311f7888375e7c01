"""One module per scenario: ``run(quick, repetitions)`` measures and returns a ``Section``."""

from benchmarks.scenarios import digits, many_starts, memory, one_start, retrace

SCENARIOS = {module.NAME: module.run for module in (one_start, many_starts, digits, memory, retrace)}
