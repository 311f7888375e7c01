"""Rows that a few factors explain, with entries missing; a start, and the E-step in NumPy for any parameters."""

from typing import NamedTuple

import numpy as np


class Start(NamedTuple):
    mean: np.ndarray  # [d]
    loading: np.ndarray  # [d, q]
    noise_variance: np.ndarray  # [d]


def table(n: int, d: int, q: int, missing: float, dtype: str, seed: int = 0) -> np.ndarray:
    """`[n, d]`, NaN for the fraction `missing` of the entries, at random."""
    rng = np.random.default_rng(seed)
    mean, loading = rng.standard_normal(d), 0.7 * rng.standard_normal((d, q))
    noise = rng.uniform(0.5, 1.5, size=d)
    x = mean + rng.standard_normal((n, q)) @ loading.T + noise * rng.standard_normal((n, d))
    x[rng.random((n, d)) < missing] = np.nan
    return x.astype(dtype)


def start(x: np.ndarray, q: int, seed: int = 1) -> Start:
    rng = np.random.default_rng(seed)
    mean, deviation = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    loading = 0.3 * deviation[:, None] * rng.standard_normal((x.shape[1], q))
    return Start(mean, loading.astype(x.dtype), deviation**2)


def posterior(x: np.ndarray, mean, loading, noise_variance) -> tuple[np.ndarray, np.ndarray, float]:
    """Means `[n, q]` and covariances `[n, q, q]` of the factors given the entries that are there, all rows at once,
    and the log-likelihood."""
    known = ~np.isnan(x)
    n, q = len(x), loading.shape[1]
    residual = np.where(known, x - mean, 0)
    scaled = loading / noise_variance[:, None]
    pairs = (scaled[:, :, None] * loading[:, None, :]).reshape(-1, q * q)
    precision = (known @ pairs).reshape(n, q, q) + np.eye(q)
    covariance = np.linalg.inv(precision)
    pull = residual @ scaled
    z = np.einsum("nij,nj->ni", covariance, pull)
    apart = residual**2 @ (1 / noise_variance) - np.sum(pull * z, axis=1)
    log_det = known @ np.log(2 * np.pi * noise_variance) + np.linalg.slogdet(precision)[1]
    return z, covariance, -0.5 * float(np.sum(apart + log_det))


def log_likelihood(x: np.ndarray, mean, loading, noise_variance) -> float:
    """The same yardstick for every contender's parameters."""
    parameters = map(np.asarray, (mean, loading, noise_variance))
    return posterior(x, *parameters)[2]
