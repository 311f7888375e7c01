"""A Gaussian hidden Markov model on many short sequences, and on few long ones: time per iteration."""

from functools import partial

from benchmarks import _chains
from benchmarks._report import Section
from benchmarks.scenarios import _iterations as it

LABELS = {"jaxem": "jaxem", "dynamax": "dynamax", "hmmlearn": "hmmlearn"}
DTYPE = "float64"
CHECK = 5


def measure(name: str, n: int, length: int, bounds: dict[str, float], quick: bool, repetitions: int) -> Section:
    n, length, d, k = (n // 5, length // 10, 2, 3) if quick else (n, length, 4, 5)
    size = {"n": n, "length": length, "d": d, "k": k}
    spec = {**size, "few": 2, "added": 20, "check": CHECK}
    results, infos, missing = it.interleave({label: (label, "chains", spec) for label in LABELS}, repetitions, (DTYPE,))
    x = _chains.sequences(**size, dtype=DTYPE)
    agreed = it.agreement(infos[DTYPE], partial(_chains.log_likelihood, x), CHECK)
    claims = [
        (f"{LABELS[peer]} / jaxem", it.ratio(results, DTYPE, peer, "jaxem"), ">=", bound)
        for peer, bound in bounds.items()
        if peer in results[DTYPE]
    ]
    return Section(
        name,
        f"Gaussian HMM, {n:,} sequences of {length:,}, time per iteration",
        f"Full covariances, d={d}, k={k}; maximum likelihood from the same start. Milliseconds, median of "
        f"{repetitions} interleaved repetitions (least to most).",
        it.headers("ms", (DTYPE,)),
        it.rows(results, LABELS),
        claims,
        [agreed, *it.notes(infos, missing, {}, results)],
    )


SCENARIOS = {
    "hmm-short": partial(measure, "hmm-short", 100, 500, {"dynamax": 1.5, "hmmlearn": 4}),
    "hmm-long": partial(measure, "hmm-long", 10, 5000, {"dynamax": 2.5, "hmmlearn": 2.5}),
}
