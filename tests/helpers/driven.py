"""A hidden Markov model whose transitions depend on covariates, in NumPy: the forward recursion, and small data."""

from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.special import log_softmax, logsumexp


def log_transitions(coefficients, x):
    """Log probabilities `[T - 1, k, k]` of the transitions of one sequence; `coefficients` `[k, k - 1, q]`, `x` those
    into every step, `[T, q]`."""
    k = len(coefficients)
    out = np.empty((len(x) - 1, k, k))
    for i in range(k):
        odds = np.insert(x[1:] @ coefficients[i].T, i, 0, axis=1)
        out[:, i] = log_softmax(odds, 1)
    return out


def local(rate, rows):
    """Log densities of counts `[T, d]` under each state, 0 where a row is NaN."""
    log = stats.poisson.logpmf(np.nan_to_num(rows)[:, None], rate[None]).sum(-1)
    return np.where(np.isnan(rows).all(1)[:, None], 0, log)


def log_density(initial, coefficients, rate, rows, x):
    """Log density of one sequence, by the forward recursion on logarithms."""
    own, moves = local(rate, rows), log_transitions(coefficients, x)
    with np.errstate(divide="ignore"):
        state = np.log(initial) + own[0]
    for t in range(1, len(rows)):
        state = logsumexp(state[:, None] + moves[t - 1], axis=0) + own[t]
    return logsumexp(state)


@lru_cache
def counts(n=6, steps=30):
    """Counts of two states, the covariates of their transitions, lengths, and the parameters they were drawn with."""
    rng = np.random.default_rng(45)
    initial, rate = np.array([0.7, 0.3]), np.array([[2.0], [7.0]])
    coefficients = np.array([[[-1.0, 1.5]], [[-0.5, -1.0]]])
    x = np.stack([np.ones((n, steps)), rng.standard_normal((n, steps))], 2)
    states = np.zeros((n, steps), int)
    for row, own in zip(states, x, strict=True):
        moves = np.exp(log_transitions(coefficients, own))
        row[0] = rng.random() > initial[0]
        for t in range(1, steps):
            row[t] = rng.random() > moves[t - 1, row[t - 1], 0]
    rows = rng.poisson(rate[states]).astype(float)
    rows[1, 4] = rows[2, 0] = np.nan
    lengths = np.array([steps, steps - 5, steps, 12, 1, steps - 1], np.int32)
    return rows, x, lengths, (initial, coefficients, rate)
