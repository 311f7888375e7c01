"""Every variant of EM on the same problems: ``python -m benchmarks.algorithms [--quick] [--only NAME ...] [--write]``.

Needs the `bench` and `cli` extras. Prints tables in Markdown; `--write` puts them into docs/variants.md, and, if all
problems were run, the gap against the passes over the data into docs/images/variants.png.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

import jax
import numpy as np

from benchmarks import _report
from benchmarks._contest import LBFGS as LBFGS_NAME
from benchmarks._contest import Variant, variants
from benchmarks._problems import PROBLEMS, Problem
from benchmarks._report import Section
from benchmarks._runs import LBFGS, Solve, Trace

DOCS = Path(__file__).parent.parent / "docs"
GAPS = (1e-3, 1e-6)  # nats per observation
ENOUGH = 20  # seconds of timing one variant to one gap, after which it is not repeated
HEADERS = ["", *[f"{what} to {gap:g}" for gap in GAPS for what in ("iterations", "passes", "time")], "ends"]


def within(trace: Trace, best: float, gap: float, monotone: bool) -> int | None:
    """Index of the first iterate within the gap; if the objective may fall, of the first that stays within it for as
    many iterations again, or until the run converges."""
    last = math.inf if trace.status == "converged" else trace.steps[-1]
    near = np.nan_to_num(trace.values, nan=-np.inf) >= best - gap
    for index in np.flatnonzero(near):
        twice = 2 * trace.steps[index]
        lasts = near[index : np.searchsorted(trace.steps, twice, "right")].all() and twice <= last
        if monotone or lasts:
            return int(index)
    return None


def measure(name: str, problem: Problem, repetitions: int, log) -> tuple[Section, dict[str, tuple]]:
    runs: dict = {label: Solve(problem, variant) for label, variant in variants(problem).items()}
    runs[LBFGS_NAME] = LBFGS(problem)
    polish = Solve(problem, Variant(runs["anderson"].variant.algorithm))
    polish.program = runs["anderson"].program

    traces = {}
    for label, run in runs.items():
        traces[label] = run.trace()
        log(f"{name}: {label}, {len(traces[label].steps)} values, {traces[label].values[-1]:.9f}")

    def maximum(trace: Trace) -> float:
        return float(polish.run(problem.budget, 1e-14, trace.params).objective) / problem.size

    # What EM and all that end close to it reach together is the maximum of its basin.
    own = {label: maximum(trace) for label, trace in traces.items()}
    best = max([own["em"], *[value for value in own.values() if abs(value - own["em"]) < GAPS[-1]]])
    target = {label: best if abs(value - best) < 2 * GAPS[-1] else value for label, value in own.items()}
    found = {
        label: [within(trace, target[label], gap, runs[label].monotone) for gap in GAPS]
        for label, trace in traces.items()
    }

    seconds: dict = {}
    for turn in range(repetitions):
        for label in np.roll(list(runs), turn):
            for gap, index in zip(GAPS, found[label], strict=True):
                if index is not None and sum(seconds.get((label, gap), [])) < ENOUGH:
                    steps = int(traces[label].steps[index])
                    seconds.setdefault((label, gap), []).append(runs[label].seconds(steps))
        log(f"{name}: repetition {turn + 1}")
    median = {key: statistics.median(values) for key, values in seconds.items()}

    rows = []
    for label, trace in traces.items():
        cells = [label]
        for gap, index in zip(GAPS, found[label], strict=True):
            if index is None:
                cells += ["-"] * 3
                continue
            ratio = median[label, gap] / median["em", gap] if ("em", gap) in median else float("nan")
            cells += [f"{trace.steps[index]:.0f}", f"{trace.passes[index]:.3g}", f"{ratio:.2g}"]
            cells[-2] = f"{trace.passes[index]:.0f}" if trace.passes[index] >= 100 else cells[-2]
        rows.append([*cells, ending(trace, target[label], best, found[label])])
    sizes = ", ".join(f"{median['em', gap]:.3g} s to {gap:g}" for gap in GAPS if ("em", gap) in median)
    text = f"Maximum: {best:.9f} nats per observation. Times in units of `em`'s in this run ({sizes})."
    gaps = {
        label: (trace.passes, target[label] - trace.values, runs[label].monotone) for label, trace in traces.items()
    }
    return Section(name, problem.title, text, HEADERS, rows), gaps


def ending(trace: Trace, target: float, best: float, found: list) -> str:
    words = []
    if target != best:
        words.append(f"another maximum, {target - best:+.4f}")
    if found[-1] is None:
        visited = (trace.values >= target - GAPS[-1]).any()
        short = "enters and leaves" if visited else f"{target - trace.values[-1]:.1e} short"
        words.append(f"{short}, {trace.passes[-1]:.0f} passes")
    if trace.status not in ("converged", "completed", "max_steps_reached"):
        words.append(trace.status)
    return "; ".join(words)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.algorithms", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, metavar="PROBLEM", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--repetitions", type=int, default=3, help="of every timing (default 3)")
    parser.add_argument("--write", action="store_true", help="update docs/variants.md and its picture")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing down")
    if options.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {options.repetitions}")
    jax.config.update("jax_enable_x64", True)

    given = sys.argv[1:] if arguments is None else arguments
    backend, kinds = _report.devices()
    origin = _report.provenance(" ".join(["python -m benchmarks.algorithms", *given]), backend, kinds)
    print(f"## Variants of EM on {backend}\n\n{origin}\n", flush=True)
    gaps = {}
    for name in options.only or PROBLEMS:
        problem = PROBLEMS[name](options.quick)
        log = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        section, gaps[problem.title] = measure(name, problem, options.repetitions, log)
        print(section.markdown() + "\n", flush=True)
        if options.write:
            _report.write(backend, name, f"{section.markdown()}\n\n{origin}", DOCS / "variants.md")
        jax.clear_caches()
    if options.write and len(gaps) == len(PROBLEMS):
        from benchmarks._picture import draw

        draw(gaps, DOCS / "images" / "variants.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
