"""Factor analysis of rows with missing entries beside NumPy, time per iteration."""

from functools import partial

from benchmarks import _factors
from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "factors-missing"
LABELS = {"jaxem": "jaxem", "whole": "NumPy, all rows at once", "loop": "NumPy, a loop over the rows"}
DTYPE = "float64"
CHECK = 2


def run(quick: bool, repetitions: int) -> Section:
    n, d, factors = (1000, 8, 2) if quick else (100_000, 50, 5)
    repetitions = min(repetitions, 3)
    size = {"n": n, "d": d, "missing": 0.3}
    spec = {**size, "factors": factors, "check": CHECK}
    entries = {
        "jaxem": ("jaxem", "factors", {**spec, "few": 2, "added": 10}),
        "whole": ("numpy_loops", "factors, whole", {**spec, "few": 1, "added": 2}),
        "loop": ("numpy_loops", "factors", {**spec, "few": 1, "added": 1}),
    }
    results, infos, missing = it.interleave(entries, repetitions, (DTYPE,))
    x = _factors.table(**size, q=factors, dtype=DTYPE)
    agreed = it.agreement(infos[DTYPE], partial(_factors.log_likelihood, x), CHECK)
    return Section(
        NAME,
        "Factor analysis with missing entries, time per iteration",
        f"n={n:,}, d={d}, {factors} factors, 30% of the entries missing at random; from the same start, by the same "
        f"E- and M-step. The loop goes over all rows. Milliseconds, median of {repetitions} interleaved repetitions "
        "(least to most).",
        it.headers("ms", (DTYPE,)),
        it.rows(results, LABELS),
        [("loop over the rows / jaxem", it.ratio(results, DTYPE, "loop", "jaxem"), ">=", 20)],
        [agreed, *it.notes(infos, missing, {}, results)],
    )
