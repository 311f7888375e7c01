"""Coverage of intervals: ``python -m benchmarks.coverage [--only KIND ...] [--samples 1000] [--quick] [--write]``.

Data are drawn from known parameters, the model is fitted to each sample from these, and each 95% Wald interval of
`jaxem.information.observed` holds the true number or does not. `--write` puts the rows into the table
of docs/inference.md, each as it is done.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import jaxem
from benchmarks import _report
from benchmarks._coverage_kinds import KINDS, Kind

PAGE = Path(__file__).resolve().parents[1] / "docs" / "inference.md"
LEVEL, AT_A_TIME = 0.95, 250
HEADERS = ["model", "n", "parameters", "lowest", "mean", "highest", "Monte Carlo error", "samples", "failed"]


class Coverage(NamedTuple):
    """How often intervals held, and of how many samples: of each number of the parameters that has one."""

    held: np.ndarray
    asked: np.ndarray
    samples: int
    failed: int  # samples whose fit did not converge, or whose information was refused

    def row(self, name: str, size: int) -> list[str]:
        # By chance a rotation hardly moves a loading of a sample, which then has an interval in that sample alone.
        there = 2 * self.asked > self.samples - self.failed
        share = self.held[there] / self.asked[there]
        error = np.sqrt(LEVEL * (1 - LEVEL) / max(self.samples - self.failed, 1))
        return [
            name,
            f"{size:,}",
            str(there.sum()),
            *(f"{100 * value:.1f}" for value in (share.min(), share.mean(), share.max(), error)),
            f"{self.samples:,}",
            f"{100 * self.failed / self.samples:.1f}%",
        ]


def _flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(tree)])


def measured(kind: Kind, samples: int, size: int, seed: int = 0) -> Coverage:
    """Samples are drawn and fitted side by side; their intervals are found one by one, as a user would."""
    truth, key = _flat(kind.params), jax.random.key(seed)
    held, asked, failed = np.zeros(len(truth), int), np.zeros(len(truth), int), 0
    draw = jax.jit(jax.vmap(lambda key: kind.draw(key, size)))
    for first in range(0, samples, AT_A_TIME):
        numbers = np.arange(first, min(first + AT_A_TIME, samples))
        data = jax.tree.map(np.asarray, draw(jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)))
        fits = jaxem.fit_many(
            kind.model,
            data,
            over="data",
            key=key,
            init=kind.params,
            algorithm=jaxem.squarem(),
            tol=1e-9,
            max_steps=5000,
        )
        for i in range(len(numbers)):
            params, own = jax.tree.map(lambda leaf, i=i: leaf[i], (fits.params, data))
            try:
                if not fits.converged[i]:
                    raise jaxem.FitError("not converged")
                found = jaxem.information.observed(kind.model, params, own)
                interval, errors = found.interval(LEVEL), _flat(found.standard_errors)
            except jaxem.FitError:
                failed += 1
                continue
            lower, upper = _flat(interval.lower), _flat(interval.upper)
            there = np.isfinite(errors) & (errors > 0)
            held += there & (lower <= truth) & (truth <= upper)
            asked += there
    return Coverage(held, asked, samples, failed)


def merged(rows: list[list[str]]) -> list[list[str]]:
    """Rows in the order of the kinds, with those of the page for kinds that have not been looked at again."""
    begin, end = _report.markers("any", "coverage")
    _, _, rest = PAGE.read_text().partition(begin)
    lines = [line.strip("| ").split(" | ") for line in rest.partition(end)[0].splitlines() if line.startswith("| ")]
    known = {line[0]: line for line in [*lines[2:], *rows]}
    return [known[name] for name in KINDS if name in known]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"of {'; '.join(KINDS)}")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a few small samples, to see that everything runs")
    parser.add_argument("--write", action="store_true", help="update docs/inference.md")
    options = parser.parse_args(arguments)
    if options.write and options.quick:
        parser.error("--quick measures nothing worth writing down")
    jax.config.update("jax_enable_x64", True)
    rows = []
    for name in options.only or KINDS:
        began, kind = time.perf_counter(), KINDS[name]()
        size = kind.size // 4 if options.quick else kind.size
        found = measured(kind, 8 if options.quick else options.samples, size)
        rows.append(found.row(name, size))
        print(f"{' | '.join(rows[-1])}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if options.write:
            _report.write("any", "coverage", _report.table(HEADERS, merged(rows)), PAGE)
    print(_report.table(HEADERS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
