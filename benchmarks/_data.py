"""Data and starts that every contender builds for itself from the same seed, in NumPy."""

from typing import NamedTuple

import numpy as np


class Start(NamedTuple):
    weights: np.ndarray  # [starts, k]
    means: np.ndarray  # [starts, k, d]
    covariances: np.ndarray  # [starts, k, d, d]


def overlapping(n: int, d: int, k: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Clusters that overlap, so that EM goes on for dozens of iterations; condition of their covariances about 10."""
    rng = np.random.default_rng(seed)
    means = 0.5 * rng.standard_normal((k, d))
    # The spectrum of the random part stays within the same radius, or the sum is nearly singular from 100 columns on.
    factors = np.eye(d) + 0.1 * min(1, 4 / np.sqrt(d)) * rng.standard_normal((k, d, d))
    x = rng.standard_normal((n, d))
    labels = rng.integers(k, size=n)
    for j in range(k):
        rows = labels == j
        x[rows] = means[j] + x[rows] @ factors[j].T
    return x.astype(dtype)


def starts(x: np.ndarray, k: int, count: int, seed: int = 1) -> Start:
    """Means of a few random rows each, the covariance of all rows, equal weights: no component starts on an outlier,
    where it would shrink until single precision calls for the slower statistics in one lane of many."""
    rng = np.random.default_rng(seed)
    n, d = x.shape
    means = np.stack([x[rng.choice(n, size=(k, 8), replace=False)].mean(1, dtype=x.dtype) for _ in range(count)])
    pooled = np.cov(x[: min(n, 20_000)], rowvar=False).reshape(d, d).astype(x.dtype)
    covariances = np.broadcast_to(pooled, (count, k, d, d)).copy()
    return Start(np.full((count, k), 1.0 / k, x.dtype), means, covariances)


def of_structure(covariances: np.ndarray, structure: str) -> np.ndarray:
    """Covariances `[..., k, d, d]`, all the same, in the form that a structure has them in."""
    if structure == "tied":
        return covariances[..., 0, :, :]
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    forms = {"full": covariances, "diagonal": variances, "spherical": variances.mean(-1)}
    return np.ascontiguousarray(forms[structure])


def log_likelihood(x: np.ndarray, weights, means, covariances) -> float:
    """The same yardstick for every contender's parameters: float64, by SciPy."""
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    columns = [
        np.log(w) + multivariate_normal.logpdf(x, m, c) for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return float(logsumexp(np.stack(columns, axis=1), axis=1).sum())


def bootstrap(spec: dict) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows `[n, d]`, weights of bootstrap samples `[samples, n]`, and a start: weights, means, variances."""
    x, k = overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"]), spec["k"]
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=spec["samples"]).astype(x.dtype)
    means = x[: 8 * k].reshape(k, 8, -1).mean(1)
    return x, weights, (np.full(k, 1 / k, x.dtype), means, np.repeat(x.var(0)[None], k, 0))


def tables(spec: dict) -> np.ndarray:
    """Many small data sets, each of clusters of its own, `[problems, n, d]`."""
    rng, (problems, n, d, k) = np.random.default_rng(0), (spec[name] for name in ("problems", "n", "d", "k"))
    centres, member = 4 * rng.normal(size=(problems, k, d)), rng.integers(0, k, (problems, n))
    x = np.take_along_axis(centres, member[..., None], 1) + rng.normal(size=(problems, n, d))
    return x.astype(spec["dtype"])


def centres(x: np.ndarray, k: int, count: int, seed: int = 1) -> np.ndarray:
    """Rows of the table as centres, `[starts, k, d]`."""
    rng = np.random.default_rng(seed)
    return np.stack([x[rng.choice(len(x), size=k, replace=False)] for _ in range(count)])


def binary_items(n: int, d: int, k: int, seed: int = 0) -> np.ndarray:
    """Answers 0 and 1 of `k` latent classes whose probabilities are 0.2 or 0.8, `[n, d]`."""
    rng = np.random.default_rng(seed)
    probability = np.where(rng.uniform(size=(k, d)) < 0.5, 0.2, 0.8)
    return (rng.uniform(size=(n, d)) < probability[rng.integers(k, size=n)]).astype(float)
