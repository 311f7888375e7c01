"""One module per scenario: ``run(quick, repetitions)`` measures and returns a ``Section``."""

from benchmarks.scenarios import (
    chains,
    digits,
    documents,
    factors,
    many_fits,
    many_starts,
    memory,
    missing_entries,
    one_start,
    retrace,
    small_problems,
    student_t,
)

SCENARIOS = {module.NAME: module.run for module in (one_start, many_starts, digits, memory, retrace)}
MODELS = {
    **chains.SCENARIOS,
    **{
        module.NAME: module.run
        for module in (factors, student_t, documents, missing_entries, small_problems, many_fits)
    },
}
