"""What belongs in `tests/slow.txt`: ``pytest -n 2 --durations=0 | python -m tests.helpers.slowest``.

Adds the tests that took longer than `MOST` seconds, in a run of the fast ones, to those that are listed.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LISTED = Path(__file__).parents[1] / "slow.txt"
MOST = 10.0
# For every change, whatever they take: what counts compilations and operations, and the command as it is called.
KEPT = (
    "tests/benchmarks/test_compilation.py::",
    "tests/engine/test_cache.py::",
    "tests/cli/test_process.py::test_fit",
    "tests/selection/test_select.py::test_one_set_of_programs",
)
_LINE = re.compile(r"([\d.]+)s (?:setup|call|teardown) +(tests/\S.*)")


def slowest(report: Iterable[str]) -> set[str]:
    """Names of the tests that took longer than `MOST` by the durations in a report, but for those that are `KEPT`."""
    seconds = Counter()
    for line in report:
        found = _LINE.fullmatch(line.strip())
        if found is not None:
            seconds[found[2]] += float(found[1])
    return {name for name, took in seconds.items() if took > MOST and not name.startswith(KEPT)}


def listed() -> list[str]:
    """Names of the tests that are slow by the list."""
    return LISTED.read_text().splitlines()


if __name__ == "__main__":
    LISTED.write_text("".join(f"{name}\n" for name in sorted({*listed(), *slowest(sys.stdin)})))
