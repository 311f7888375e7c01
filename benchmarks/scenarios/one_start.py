"""One start of a full-covariance mixture, time per iteration."""

from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "one-start"
LABELS = {"jaxem": "jaxem", "gemm": "two bare matrix products", "gmmx": "gmmx", "scikit_learn": "scikit-learn"}


def run(quick: bool, repetitions: int) -> Section:
    n, d, k = (3000, 4, 3) if quick else (100_000, 16, 16)
    steps = {"few": 2, "added": 8}
    contenders = {"jaxem": steps, "gemm": steps, "gmmx": {"few": 1, "added": 4}, "scikit_learn": {"few": 1, "added": 4}}
    results, infos, missing = it.measure(contenders, {"n": n, "d": d, "k": k}, repetitions)
    bounds = {"scikit_learn": (">=", 4, 12), "gmmx": (">=", 5, 5)}
    claims = []
    for peer, (sign, *asked) in bounds.items():
        for dtype, bound in zip(it.DTYPES, asked, strict=True):
            if peer in results[dtype]:
                what = f"{LABELS[peer]} / jaxem, {dtype}"
                claims.append((what, it.ratio(results, dtype, peer, "jaxem"), sign, bound))
    for dtype, bound in zip(it.DTYPES, (1.3, 1.6), strict=True):
        what = f"jaxem / {LABELS['gemm']}, {dtype}"
        claims.append((what, it.ratio(results, dtype, "jaxem", "gemm"), "<=", bound))
    return Section(
        NAME,
        "One start, time per iteration",
        f"Full covariances, n={n:,}, d={d}, k={k}; from the same start. Milliseconds, median of {repetitions} "
        "interleaved repetitions (least to most).",
        it.headers("ms"),
        it.rows(results, LABELS),
        claims,
        it.notes(infos, missing, {}, results),
    )
