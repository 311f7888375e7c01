"""Hundreds of starts to convergence on scikit-learn's digits, from a fresh process."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import _data, _harness
from benchmarks._report import Section

NAME = "digits"
LABELS = {
    "packed": "jaxem.fit, unfinished starts packed",
    "lockstep": "jax.vmap(jaxem.solve), lockstep",
    "peer": "scikit-learn, n_init",
}


def table(dimensions: int) -> np.ndarray:
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    return PCA(dimensions, svd_solver="full").fit_transform(load_digits().data)


def run(quick: bool, repetitions: int) -> Section:
    dimensions, k, starts = (4, 4, 8) if quick else (10, 10, 256)
    repetitions = min(repetitions, 3)
    x = table(dimensions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npy"
        np.save(path, x)
        spec = {
            "path": str(path),
            "k": k,
            "starts": starts,
            "tol": 1e-3,
            "max_steps": 1000,
            "seed": 0,
            "dtype": "float64",
        }
        entries = {
            "packed": ("jaxem", "restarts", spec),
            "lockstep": ("jaxem", "lockstep", spec),
            "peer": ("scikit_learn", "restarts", spec),
        }
        results, missing = _harness.fresh(entries, repetitions, again=("packed", "lockstep"))
    best = {
        label: max(_data.log_likelihood(x, r["weights"], r["means"], r["covariances"]) for r in found)
        for label, found in results.items()
    }
    walls = {label: _harness.median(found, "wall") for label, found in results.items()}
    rows = []
    for label, found in results.items():
        low, high = _harness.spread(found, "wall")
        warm = f"{_harness.median(found, 'warm'):.2f}" if "warm" in found[0] else "-"
        wall = f"{walls[label]:.2f} ({low:.2f} to {high:.2f})"
        rows.append([LABELS[label], wall, f"{walls[label] / walls['packed']:.2f}", warm, f"{best[label]:.3f}"])
    claims = []
    if "peer" in results:
        shortfall = (best["peer"] - best["packed"]) / len(x)
        claims = [
            ("scikit-learn / jaxem, fresh process", walls["peer"] / walls["packed"], ">=", 5.0),
            ("log-likelihood per row, scikit-learn - jaxem", shortfall, "<=", 0.0),
        ]
    return Section(
        NAME,
        f"Digits: {starts} starts to convergence",
        f"scikit-learn's digits on {dimensions} principal components ({len(x)} rows), k={k}, full covariances, "
        f"float64, {starts} starts, tolerance 1e-3 on the gain per row, each with its own default starts. Wall "
        "seconds of a fresh process up to its answer, imports and compilation included; the same again in that process "
        f"('warm'); median of {repetitions} interleaved repetitions (least to most). Log-likelihoods of the best "
        "parameters, evaluated alike for all, in float64.",
        ["contender", "wall, s", "x jaxem.fit", "warm, s", "best log-likelihood"],
        rows,
        claims,
        [f"- not installed: {name}." for name in missing],
    )
