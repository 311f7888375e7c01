"""This version beside another one: ``python -m benchmarks.versions CHECKOUT [--repetitions N] [--write]``.

CHECKOUT is the folder of another copy of the repository. Each runs in processes of its own, with its own contenders,
and they take turns.
"""

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks import _report
from benchmarks.scenarios import _iterations as it

_CHAIN = {"d": 4, "k": 5, "few": 2, "added": 40}
_MIXTURE = {"few": 2, "added": 8}
ENTRIES: dict[str, tuple[str, dict]] = {
    "full mixture, n=100,000, d=16, k=16": ("iterations", {"n": 100_000, "d": 16, "k": 16, "starts": 1, **_MIXTURE}),
    "the same, 16 starts on 50,000 rows": (
        "iterations",
        {"n": 50_000, "d": 16, "k": 16, "starts": 16, "few": 2, "added": 12},
    ),
    "t mixture, n=100,000, d=8, k=5": (
        "mixture",
        {"n": 100_000, "d": 8, "k": 5, "tails": 5, "family": "student_t", "few": 2, "added": 10},
    ),
    "10% missing, n=20,000, d=8, k=5": (
        "mixture",
        {"n": 20_000, "d": 8, "k": 5, "missing": 0.1, "family": "gaussian", "few": 1, "added": 4},
    ),
    "HMM, 100 sequences of 500, d=4, k=5": ("chains", {"n": 100, "length": 500, **_CHAIN}),
    "HMM, 10 sequences of 5,000, d=4, k=5": (
        "chains",
        {"n": 10, "length": 5000, "d": 4, "k": 5, "few": 2, "added": 40},
    ),
    "factors, 30% missing, n=20,000, d=50, q=5": (
        "factors",
        {"n": 20_000, "d": 50, "factors": 5, "missing": 0.3, "few": 2, "added": 30},
    ),
}
QUICK = {"n": 3000, "length": 50}


def measured(checkout: Path, quick: bool, repetitions: int) -> _report.Section:
    """A row for each entry: seconds per iteration of either version in both precisions, and their ratio."""
    rows, ratios = [], {dtype: [] for dtype in it.DTYPES}
    for label, (task, spec) in ENTRIES.items():
        spec = {**spec, **{name: size for name, size in QUICK.items() if quick and name in spec}}
        both = {"before": {**spec, "checkout": str(checkout)}, "now": spec}
        entries = {name: ("jaxem", task, own) for name, own in both.items()}
        results, _, _ = it.interleave(entries, repetitions)
        row = [label]
        for dtype in it.DTYPES:
            ratio = it.ratio(results, dtype, "now", "before")
            ratios[dtype].append(ratio)
            row += [*(it.milliseconds(results[dtype][name]) for name in both), f"{ratio:.2f}"]
        print(" | ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    columns = (f"{dtype}, {what}" for dtype in it.DTYPES for what in ("before", "now", "now / before"))
    return _report.Section(
        "versions",
        "This version beside the one before, time per iteration",
        f"The same starts and data. Milliseconds, median of {repetitions} interleaved repetitions (least to most). "
        "Where the ranges overlap, a row says little; rows that are slower in one run are faster in the next.",
        ["", *columns],
        rows,
        [
            (f"now / before, geometric mean, {dtype}", statistics.geometric_mean(found), "<=", 1.05)
            for dtype, found in ratios.items()
            if not quick
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="the folder of another copy of the repository")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    options = parser.parse_args(arguments)
    if not (options.checkout / "benchmarks" / "_worker.py").is_file():
        parser.error(f"{options.checkout} is no copy of the repository: it has no benchmarks/_worker.py")
    backend, kinds = _report.devices()
    section = measured(options.checkout.resolve(), options.quick, options.repetitions)
    origin = _report.provenance("python -m benchmarks.versions CHECKOUT", backend, kinds)
    print(f"{section.markdown()}\n\n{origin}")
    if options.write:
        _report.write(backend, "versions", f"{section.markdown()}\n\n{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
