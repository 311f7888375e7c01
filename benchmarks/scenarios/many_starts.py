"""Many starts in one program, time per start and iteration."""

from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

NAME = "many-starts"


def run(quick: bool, repetitions: int) -> Section:
    n, d, k, starts = (3000, 4, 3, 4) if quick else (50_000, 16, 16, 16)
    contenders = {
        "jaxem": {"few": 2, "added": 10, "starts": starts},
        "gemm": {"few": 2, "added": 10, "starts": starts},
        "scikit_learn": {"few": 1, "added": 4},
    }
    results, infos, missing = it.measure(contenders, {"n": n, "d": d, "k": k}, repetitions)
    for dtype in it.DTYPES:
        for result in results[dtype]["gemm"]:
            result["seconds"] /= starts
    labels = {
        "jaxem": f"jaxem, {starts} starts by vmap",
        "gemm": f"two bare matrix products, {starts} starts",
        "scikit_learn": "scikit-learn, one start",
    }
    claims = [
        (f"scikit-learn / jaxem, {dtype}", it.ratio(results, dtype, "scikit_learn", "jaxem"), ">=", bound)
        for dtype, bound in zip(it.DTYPES, (10, 40), strict=True)
        if "scikit_learn" in results[dtype]
    ]
    return Section(
        NAME,
        f"{starts} starts at once, time per start and iteration",
        f"Full covariances, n={n:,}, d={d}, k={k}. Milliseconds, median of {repetitions} interleaved repetitions "
        "(least to most).",
        it.headers("ms"),
        it.rows(results, labels),
        claims,
        it.notes(infos, missing, {"gemm": starts, "jaxem": starts}, results),
    )
