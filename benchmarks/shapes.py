"""Every model at many sizes, beside its peers and this machine's limits: ``python -m benchmarks.shapes``.

For each cell: milliseconds an iteration and start; the share of the limit, which is the time that its operations take
at the rate of a large matrix product, or its numbers at the rate of reading memory, if that is longer; and the ratio of
each peer's time to jaxem's. Both limits are measured in the same run. `--only` takes kinds of models, `--cells` words
that a cell's name has to contain (``--cells full d=64``). The rest is as in `benchmarks.mixtures`.
"""

import argparse
import math
import sys

from benchmarks import _grid, _harness, _report
from benchmarks.scenarios._iterations import DTYPES

_SIZE = {"float64": 8, "float32": 4}


def limits(quick: bool) -> dict[str, tuple[float, float]]:
    """Operations and bytes a second, in each precision."""
    size, numbers = (256, 2**18) if quick else (2048, 2**26)
    found = {}
    for dtype in DTYPES:
        entries = {
            "product": ("limits", "product", {"size": size, "dtype": dtype}),
            "reading": ("limits", "reading", {"numbers": numbers, "dtype": dtype}),
        }
        results, _, _ = _harness.interleaved(entries, 5)
        seconds = {name: min(each["seconds"] for each in given) for name, given in results.items()}
        found[dtype] = 2 * size**3 / seconds["product"], numbers * _SIZE[dtype] / seconds["reading"]
    return found


def measured(cell: _grid.Cell, dtype: str, limit: tuple[float, float], repetitions: int) -> tuple[list[str], list[str]]:
    """The row of a cell in one precision, and who is missing."""
    entries = {}
    for label, (contender, task, spec) in cell.entries.items():
        own = "float64" if contender in _grid.DOUBLE_ONLY else dtype
        entries[label if own == dtype else f"{label} in {own}"] = (contender, task, {**spec, "dtype": own})
    # Runs of a small table take no longer than their own noise.
    results, _, missing = _harness.interleaved(entries, repetitions * (4 if cell.flops < 1e7 else 1))
    # A median that is not positive is lost in the noise.
    seconds = {label: found if (found := _harness.median(given)) > 0 else math.nan for label, given in results.items()}
    ours = seconds.pop("jaxem")
    least = max(cell.flops / limit[0], cell.numbers * _SIZE[dtype] / limit[1])
    peers = ", ".join(f"{label} {other / ours:.2f}" for label, other in seconds.items())
    gflop, megabytes = cell.flops / 1e9, cell.numbers * _SIZE[dtype] / 1e6
    row = [cell.label, dtype, f"{1e3 * ours:.3g}", f"{gflop:.3g}", f"{megabytes:.3g}", f"{100 * least / ours:.0f}%"]
    return [*row, peers or "-"], missing


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    kinds = list(_grid.groups(quick=True))
    parser.add_argument("--only", nargs="+", choices=kinds, metavar="KIND", help=f"of {', '.join(kinds)}")
    parser.add_argument("--cells", nargs="+", default=[], metavar="WORD", help="words that the name of a cell contains")
    parser.add_argument("--repetitions", type=int, help="of every contender (default 5; 1 with --quick)")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    options = parser.parse_args(arguments)
    if options.write and (options.quick or options.cells):
        parser.error("--write is for all cells of a kind at their full sizes: leave --quick and --cells out")
    repetitions = options.repetitions or (1 if options.quick else 5)
    if repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {repetitions}")

    backend, devices = _report.devices()
    given = sys.argv[1:] if arguments is None else arguments
    origin = _report.provenance(" ".join(["python -m benchmarks.shapes", *given]), backend, devices)
    found = limits(options.quick)
    rates = "; ".join(f"{dtype} {a / 1e9:.0f} GFLOP/s, {b / 1e9:.1f} GB/s" for dtype, (a, b) in found.items())
    print(f"## Shapes on {backend}\n\n{origin}\n\nLimits: {rates}\n", flush=True)
    for kind in options.only or kinds:
        cells = [c for c in _grid.groups(options.quick)[kind] if all(word in c.label for word in options.cells)]
        rows, absent = [], set()
        for cell in cells:
            for dtype in DTYPES:
                try:
                    row, missing = measured(cell, dtype, found[dtype], repetitions)
                except RuntimeError as error:  # the table names the cell, and goes on
                    row, missing = [cell.label, dtype, *["-"] * 4, f"failed: {error}"], []
                rows.append(row)
                absent.update(missing)
                print(*row, sep=" | ", file=sys.stderr, flush=True)
        section = _report.Section(
            f"shapes-{kind}",
            f"The grid: {kind}",
            f"Milliseconds an iteration and start, median of {repetitions} interleaved repetitions; the operations and "
            f"bytes that it needs at least, and the share of the limit that it reaches ({rates}); the time of others "
            "as a multiple of jaxem's.",
            ["cell", "precision", "ms", "GFLOP", "MB", "of the limit", "others / jaxem"],
            rows,
            notes=[f"- not installed: {name}." for name in sorted(absent)],
        )
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, section.name, f"{section.markdown()}\n\n{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
