"""Many small data sets side by side, beside EM written by hand: time per iteration of all of them."""

from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "small-problems"
LABELS = {"plain_em": "EM written by hand", "jaxem": 'jaxem, kernel="auto"', "fast": 'jaxem, kernel="fast"'}


def run(quick: bool, repetitions: int) -> Section:
    problems, n, d, k = (20, 100, 2, 3) if quick else (500, 200, 2, 3)
    spec = {"problems": problems, "n": n, "d": d, "k": k, "few": 5, "added": 40, "check": 5}
    entries = {
        "plain_em": ("plain_em", "small", spec),
        "jaxem": ("jaxem", "small", spec),
        "fast": ("jaxem", "small", {**spec, "kernel": "fast"}),
    }
    results, infos, missing = it.interleave(entries, repetitions)
    agreed = it.agreement(infos["float64"], lambda log_likelihood: sum(log_likelihood), spec["check"])
    return Section(
        NAME,
        f"{problems} data sets of {n} rows at once, time per iteration",
        f"Diagonal covariances, d={d}, k={k}, by `jax.vmap` of `jaxem.solve` and of `benchmarks/_plain_em.py`, from "
        f"the same starts. Milliseconds for all of them, median of {repetitions} interleaved repetitions "
        "(least to most).",
        it.headers("ms", base="by hand"),
        it.rows(results, LABELS, "plain_em"),
        [
            (f"{LABELS[name]} / by hand, {dtype}", it.ratio(results, dtype, name, "plain_em"), "<=", 1.5)
            for name in ("jaxem", "fast")
            for dtype in it.DTYPES
        ],
        [agreed, *it.notes(infos, missing, {}, results)],
    )
