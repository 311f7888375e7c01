"""Time to the first answer: ``python -m benchmarks.first_answer [--repetitions N] [--only NAME ...] [--cpu]``.

Every figure is that of a fresh process: without programs on disk, with an empty folder for them, and with the folder
that this left. It is given in seconds and as a multiple of ``python -c "import jax"``, which takes turns with it. With
`--cpu` seconds are those of all cores together, which others on the machine disturb less.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import _harness, _report

_ROOT = Path(__file__).resolve().parent.parent
_TABLE = _ROOT / "jaxem" / "datasets" / "old_faithful.csv"
# A fit in Python: seconds from after the imports to the result.
_FIT = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np
import jaxem
if sys.argv[1]:
    jaxem.cache(sys.argv[1])
rng = np.random.default_rng(0)
x = jaxem.datasets.old_faithful().data.astype("float32")
jax.block_until_ready(jnp.zeros(1))
clocks = time.perf_counter, time.process_time
began = [clock() for clock in clocks]
{code}
jax.block_until_ready(fit.params)
print(json.dumps([clock() - start for clock, start in zip(clocks, began)]))
"""
FITS = {
    "fit(GaussianMixture(3), x, restarts=256)": "model, data, restarts = jaxem.GaussianMixture(3), x, 256",
    "HMM, 20 sequences of 50": """
data = rng.normal(size=(20, 50, 2)).astype("float32")
model, restarts = jaxem.HMM(jaxem.Gaussian(), 3), 8""",
    "factor analysis, 200 x 6": """
data = rng.normal(size=(200, 6)).astype("float32")
model, restarts = jaxem.FactorAnalysis(2), 8""",
    "t mixture": "model, data, restarts = jaxem.StudentTMixture(2), x, 8",
    "missing entries": """
x[::7, 0] = np.nan
model, data, restarts = jaxem.GaussianMixture(2, missing=True), x, 8""",
}
# scikit-learn's own search over its own estimator, and over the one of this package.
_GRID = """
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from {module} import GaussianMixture

search = GridSearchCV(GaussianMixture(n_init=10, random_state=0), {{"n_components": [1, 2, 3, 4]}}, cv=5)
search.fit(load_iris().data.astype("float32"))
class fit:
    params = search.best_estimator_.means_
"""
GRIDS = {
    "GridSearchCV, iris, 4 numbers, 5 folds, n_init=10": _GRID.format(module="jaxem.sklearn"),
    "the same with scikit-learn's GaussianMixture": _GRID.format(module="sklearn.mixture"),
}
_CALL = "\nfit = jaxem.fit(model, data, key=jax.random.key(0), restarts=restarts, max_steps=50, throw=False)"


def seconds(command: list[str], folder: str | None, inside: bool) -> tuple[float, float]:
    """Those of a fresh process, or those that it reports of what is `inside`: on the clock, and of all cores."""
    env = {**_harness.environment("float32"), "JAXEM_CACHE": "off"}
    if folder is not None:
        env |= {"JAXEM_CACHE": "on", "JAXEM_CACHE_DIR": folder}
    with tempfile.TemporaryDirectory() as place:
        other_tables(place)
        began, before = time.perf_counter(), _of_children()
        done = subprocess.run(command, env=env, cwd=place, capture_output=True, text=True)
        elapsed = time.perf_counter() - began, _of_children() - before
    if done.returncode:
        raise RuntimeError(f"{command[:4]} failed:\n{done.stderr[-2000:]}")
    return tuple(json.loads(done.stdout.splitlines()[-1])) if inside else elapsed


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Row(NamedTuple):
    """What is measured: a command, whether it reports its own time, and what has been run in its folder before."""

    command: list[str]
    inside: bool
    before: list[str] | None = None


def commands(folder: str | None) -> dict[str, Row]:
    """What is measured, by name."""
    python, cli = [sys.executable, "-c"], [sys.executable, "-m", "jaxem.cli", "fit"]
    codes = {**{name: code + _CALL for name, code in FITS.items()}, **GRIDS}
    timed = {name: Row([*python, _FIT.replace("{code}", code), folder or ""], True) for name, code in codes.items()}
    first = [*cli, str(_TABLE)]
    return {
        "jaxem fit, 1 to 5 components, 256 starts": Row(first, False),
        "the same on 280 rows, after that": Row([*cli, "other280.csv"], False, first),
        "the same on 300 rows, after that": Row([*cli, "other300.csv"], False, first),
        **timed,
    }


def other_tables(place: str) -> None:
    """Tables of other lengths than Old Faithful's, like it."""
    header, *rows = _TABLE.read_text().splitlines()
    rng = random.Random(0)
    for n in (280, 300):
        drawn = [[float(cell) * rng.uniform(0.99, 1.01) for cell in rng.choice(rows).split(",")] for _ in range(n)]
        lines = [header, *(",".join(f"{cell:.3f}" for cell in row) for row in drawn)]
        Path(place, f"other{n}.csv").write_text("\n".join(lines))


def measured(names: list[str], repetitions: int, cpu: bool = False) -> _report.Section:
    """A row for each command: without a cache, with an empty one, with a warm one."""
    rows, unit = [], "CPU seconds of all cores" if cpu else "Seconds"
    for name in names:
        found: dict[str, list[float]] = {"import": [], "off": [], "cold": [], "warm": []}
        for _ in range(repetitions):
            with tempfile.TemporaryDirectory() as folder:
                found["import"].append(seconds([sys.executable, "-c", "import jax"], None, False)[cpu])
                before = commands(folder)[name].before
                if before:
                    seconds(before, folder, False)
                for state, where in (("off", None), ("cold", folder), ("warm", folder)):
                    row = commands(where)[name]
                    found[state].append(seconds(row.command, where, row.inside)[cpu])
        base = statistics.median(found.pop("import"))
        cells = [f"{(value := statistics.median(own)):.3g} ({value / base:.1f})" for own in found.values()]
        print(f"{name}: {' | '.join(cells)}", file=sys.stderr, flush=True)
        rows.append([name, f"{base:.2f}", *cells])
    return _report.Section(
        "first-answer-cpu" if cpu else "first-answer",
        f"{'CPU time' if cpu else 'Time'} to the first answer",
        f"Fresh processes, float32, median of {repetitions}. {unit}, and in brackets that as a multiple of "
        "`import jax`. Fits in Python are timed after the imports.",
        ["", "import jax", "no programs on disk", "an empty folder", "a warm folder"],
        rows,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_answer", description=__doc__.splitlines()[0])
    names = list(commands(None))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {'; '.join(names)}")
    parser.add_argument("--cpu", action="store_true", help="seconds of all cores together")
    parser.add_argument("--write", action="store_true", help="update benchmarks/README.md")
    options = parser.parse_args(arguments)
    backend, kinds = _report.devices()
    section = measured(options.only or names, options.repetitions, options.cpu)
    flag = " --cpu" if options.cpu else ""
    origin = _report.provenance(f"python -m benchmarks.first_answer{flag}", backend, kinds)
    print(f"{section.markdown()}\n\n{origin}")
    if options.write:
        _report.write(backend, section.name, f"{section.markdown()}\n\n{origin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
