"""Sequences from a hidden Markov chain with Gaussian steps, a start, and the log-likelihood of any parameters."""

from typing import NamedTuple

import numpy as np

from benchmarks import _data


class Start(NamedTuple):
    initial: np.ndarray  # [k]
    transition: np.ndarray  # [k, k]
    means: np.ndarray  # [k, d]
    covariances: np.ndarray  # [k, d, d]


def sequences(n: int, length: int, d: int, k: int, dtype: str, seed: int = 0) -> np.ndarray:
    """`[n, length, d]`: states that last five steps on average and whose clusters overlap."""
    rng = np.random.default_rng(seed)
    transition = 0.8 * np.eye(k) + 0.2 * rng.dirichlet(np.ones(k), size=k)
    means = 1.5 * rng.standard_normal((k, d))
    factors = np.eye(d) + 0.2 * rng.standard_normal((k, d, d))
    states = np.empty((n, length), int)
    states[:, 0] = rng.integers(k, size=n)
    bounds, level = np.cumsum(transition, axis=1), rng.random((n, length))
    for t in range(1, length):
        states[:, t] = np.minimum((bounds[states[:, t - 1]] < level[:, t, None]).sum(1), k - 1)
    noise = rng.standard_normal((n, length, d))
    return (means[states] + np.einsum("ntij,ntj->nti", factors[states], noise)).astype(dtype)


def states(n: int, length: int, d: int, dtype: str, seed: int = 0) -> np.ndarray:
    """`[n, length, d]`: as many linear Gaussian states as columns, which forget half in a step, seen with noise."""
    rng = np.random.default_rng(seed)
    z, seen = rng.standard_normal((n, d)), np.empty((n, length, d))
    mixing = 0.5 * np.linalg.qr(rng.standard_normal((d, d)))[0]
    for t in range(length):
        seen[:, t] = z + 0.7 * rng.standard_normal((n, d))
        z = z @ mixing + rng.standard_normal((n, d))
    return seen.astype(dtype)


def start(x: np.ndarray, k: int) -> Start:
    """Means of a few random rows each, the covariance of all rows, and states that are sooner kept than left."""
    _, means, covariances = (leaf[0] for leaf in _data.starts(x.reshape(-1, x.shape[2]), k, 1))
    transition = 0.5 * np.eye(k) + 0.5 / k
    return Start(np.full(k, 1 / k, x.dtype), transition.astype(x.dtype), means, covariances)


def log_likelihood(x: np.ndarray, initial, transition, means, covariances) -> float:
    """The same yardstick for every contender's parameters: the scaled forward pass, by NumPy and SciPy."""
    from scipy.stats import multivariate_normal

    columns = [multivariate_normal.logpdf(x, m, c) for m, c in zip(means, covariances, strict=True)]
    log_density = np.stack(columns, axis=-1).reshape(*x.shape[:2], len(columns))
    most = log_density.max(-1)
    density, total = np.exp(log_density - most[..., None]), most.sum()
    state = np.broadcast_to(initial, density[:, 0].shape)
    for t in range(x.shape[1]):
        state = (state if t == 0 else state @ np.asarray(transition)) * density[:, t]
        scale = state.sum(-1, keepdims=True)
        total, state = total + np.log(scale).sum(), state / scale
    return float(total)
