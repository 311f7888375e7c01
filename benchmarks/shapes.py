"""Every model at many sizes, beside its peers and this machine's limits: ``python -m benchmarks.shapes``.

For each cell: milliseconds an iteration and start; the share of the limit, which is the time that its operations take
at the rate of a large matrix product, or its numbers at the rate of reading memory, if that is longer; and the ratio of
each peer's time to jaxem's. Both limits are measured in the same run. `--only` takes kinds of models, `--cells` words
that a cell's name has to contain (``--cells full d=64``); with `--seconds`, what is left out is named. The rest is as
in `benchmarks.models`.

`--write` puts the tables into benchmarks/README.md, their numbers into benchmarks/shapes-cpu.json (or another device's
name), and draws the pictures of docs/speed.md from that file; `--draw` does the last of these alone. Cells that are not
measured stay as they are, with the day that they are of: the grid can be measured in parts.
"""

import argparse
import datetime
import math
import sys
import time
from typing import Any

from benchmarks import _command, _grid, _harness, _heat_maps, _report
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


def measured(
    cell: _grid.Cell, dtype: str, limit: tuple[float, float], repetitions: int
) -> tuple[dict[str, Any], list[str]]:
    """What a cell shows in one precision, and who is missing. A cell that fails says so, and the table goes on."""
    entries = {}
    for label, (contender, task, spec) in cell.entries.items():
        own = "float64" if contender in _grid.DOUBLE_ONLY else dtype
        entries[label if own == dtype else f"{label} in {own}"] = (contender, task, {**spec, "dtype": own})
    told = {"cell": cell.label, **cell.sizes, "dtype": dtype, "flops": cell.flops}
    told["bytes"], told["day"] = cell.numbers * _SIZE[dtype], datetime.date.today().isoformat()
    try:
        # Runs of a small table take no longer than their own noise.
        results, _, missing = _harness.interleaved(entries, repetitions * (4 if cell.flops < 1e7 else 1))
    except RuntimeError as error:
        return {**told, "failed": str(error)}, []
    seconds = {label: _harness.median(given) for label, given in results.items()}
    ours = _known(seconds.pop("jaxem"))
    told["milliseconds"] = 1e3 * ours
    told["share"] = max(cell.flops / limit[0], told["bytes"] / limit[1]) / ours
    return {**told, "others": {label: _known(other) / ours for label, other in seconds.items()}}, missing


def _known(seconds: float) -> float:
    """A median that is not positive is lost in the noise."""
    return seconds if seconds > 0 else math.nan


def row(told: dict[str, Any]) -> list[str]:
    """A line of the table."""
    name = [told["cell"], told["dtype"]]
    work = [f"{told['flops'] / 1e9:.3g}", f"{told['bytes'] / 1e6:.3g}"]
    if "failed" in told:
        return [*name, "-", *work, "-", f"failed: {told['failed']}", told["day"]]
    others = ", ".join(f"{label} {ratio:.2f}" for label, ratio in told["others"].items())
    share = f"{100 * told['share']:.0f}%"
    return [*name, f"{told['milliseconds']:.3g}", *work, share, others or "-", told["day"]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    kinds = list(_grid.groups(quick=True))
    parser.add_argument("--only", nargs="+", choices=kinds, metavar="KIND", help=f"of {', '.join(kinds)}")
    parser.add_argument("--cells", nargs="+", default=[], metavar="WORD", help="words that the name of a cell contains")
    parser.add_argument("--repetitions", type=int, help="of every contender (default 5; 1 with --quick)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no new cell is begun")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md and the pictures")
    parser.add_argument("--draw", action="store_true", help="draw the pictures from what was measured before")
    _command.add_interpreters(parser)
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--write is for cells at their full sizes: leave --quick out")
    repetitions = options.repetitions or (1 if options.quick else 5)
    if repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {repetitions}")
    _command.use_interpreters(parser, options.python)

    began, (backend, devices) = time.monotonic(), _report.devices()
    if options.draw:
        _heat_maps.draw(_heat_maps.read(backend))
        return 0
    given = _command.shown(sys.argv[1:] if arguments is None else arguments, options.python)
    origin = _report.provenance(" ".join(["python -m benchmarks.shapes", *given]), backend, devices)
    found = limits(options.quick)
    rates = "; ".join(f"{dtype} {a / 1e9:.0f} GFLOP/s, {b / 1e9:.1f} GB/s" for dtype, (a, b) in found.items())
    print(f"## Shapes on {backend}\n\n{origin}\n\nLimits: {rates}\n", flush=True)
    for kind in options.only or kinds:
        grid = _grid.groups(options.quick)[kind]
        labels = [cell.label for cell in grid]
        asked = [cell for cell in grid if all(word in cell.label for word in options.cells)]
        rows: list[dict[str, Any]] = []
        absent: set[str] = set()
        for cell in asked:
            if time.monotonic() - began > options.seconds:
                continue
            for dtype in DTYPES:
                told, missing = measured(cell, dtype, found[dtype], repetitions)
                rows.append(told)
                absent.update(missing)
                print(*row(told), sep=" | ", file=sys.stderr, flush=True)
                if options.write:
                    _heat_maps.write(backend, kind, rows, labels)
        shown = _heat_maps.write(backend, kind, rows, labels) if options.write else rows
        there = {told["cell"] for told in shown}
        left = [cell.label for cell in (grid if options.write else asked) if cell.label not in there]
        section = _report.Section(
            f"shapes-{kind}",
            f"The grid: {kind}",
            f"Milliseconds an iteration and start, median of {repetitions} interleaved repetitions; the operations and "
            f"bytes that it needs at least, and the share of the limit that it reaches ({rates}); the time of others "
            "as a multiple of jaxem's.",
            ["cell", "precision", "ms", "GFLOP", "MB", "of the limit", "others / jaxem", "on"],
            [row(told) for told in shown],
            notes=[f"- not installed: {name}." for name in sorted(absent)]
            + [f"- not measured: {'; '.join(left)}."] * bool(left),
        )
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, section.name, f"{section.markdown()}\n\n{origin}")
    if options.write:
        _heat_maps.draw(_heat_maps.read(backend))
    return 0


if __name__ == "__main__":
    sys.exit(main())
