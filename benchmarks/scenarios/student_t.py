"""A mixture of t distributions beside one of Gaussians, time per iteration."""

from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "student-t"
LABELS = {"gaussian": "jaxem, GaussianMixture", "student_t": "jaxem, StudentTMixture"}
TAILS = 5


def run(quick: bool, repetitions: int) -> Section:
    n, d, k = (2000, 3, 2) if quick else (100_000, 8, 5)
    spec = {"n": n, "d": d, "k": k, "tails": TAILS, "few": 2, "added": 10}
    entries = {label: ("jaxem", "mixture", {**spec, "family": label}) for label in LABELS}
    results, infos, missing = it.interleave(entries, repetitions)
    return Section(
        NAME,
        "Mixture of t distributions, time per iteration",
        f"Full covariances, n={n:,}, d={d}, k={k}; clusters with tails of {TAILS} degrees of freedom, which are "
        f"estimated. The same data, and start but for those. Milliseconds, median of {repetitions} interleaved "
        "repetitions (least to most).",
        it.headers("ms", base="Gaussian"),
        it.rows(results, LABELS, "gaussian"),
        [(f"t / Gaussian, {dtype}", it.ratio(results, dtype, "student_t", "gaussian"), "<=", 2) for dtype in it.DTYPES],
        it.notes(infos, missing, {}, results),
    )
