"""A Gaussian mixture of rows with missing entries beside one of complete rows, time per iteration."""

from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "mixture-missing"
LABELS = {"complete": "jaxem, complete rows", "missing": "jaxem, missing=True"}


def run(quick: bool, repetitions: int) -> Section:
    n, d, k = (1000, 3, 2) if quick else (20_000, 8, 3)
    spec = {"n": n, "d": d, "k": k, "family": "gaussian", "few": 2, "added": 10}
    entries = {
        "complete": ("jaxem", "mixture", spec),
        "missing": ("jaxem", "mixture", {**spec, "missing": 0.1}),
    }
    results, infos, missing = it.interleave(entries, repetitions)
    return Section(
        NAME,
        "Gaussian mixture with missing entries, time per iteration",
        f"Full covariances, n={n:,}, d={d}, k={k}; the same rows, complete and with 10% of the entries missing at "
        f"random. Milliseconds, median of {repetitions} interleaved repetitions (least to most).",
        it.headers("ms", base="complete"),
        it.rows(results, LABELS, "complete"),
        [],
        it.notes(infos, missing, {}, results),
    )
