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
    factors = np.eye(d) + 0.1 * rng.standard_normal((k, d, d))
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


def log_likelihood(x: np.ndarray, weights, means, covariances) -> float:
    """The same yardstick for every contender's parameters: float64, by SciPy."""
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    columns = [
        np.log(w) + multivariate_normal.logpdf(x, m, c) for w, m, c in zip(weights, means, covariances, strict=True)
    ]
    return float(logsumexp(np.stack(columns, axis=1), axis=1).sum())
