"""Markov chains by enumeration of all paths, in NumPy, and small data for hidden Markov models."""

import itertools
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp

# Earthquakes of magnitude 7 and more in the world, 1900 to 2006: Zucchini and MacDonald (2009), Hidden Markov Models
# for Time Series, Table 1.1 (from the U.S. Geological Survey).
EARTHQUAKES = (
    *(13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24, 22, 23, 22, 18, 25, 21, 21, 14, 8, 11, 14, 23, 18, 17, 19, 20),
    *(22, 19, 13, 26, 13, 14, 22, 24, 21, 22, 26, 21, 23, 24, 27, 41, 31, 27, 35, 26, 28, 36, 39, 21, 17, 22, 17, 19),
    *(15, 34, 10, 15, 22, 18, 15, 20, 15, 22, 19, 16, 30, 27, 29, 23, 20, 16, 21, 21, 25, 16, 18, 15, 18, 14, 10, 15),
    *(8, 15, 6, 11, 8, 7, 18, 16, 13, 12, 13, 20, 15, 16, 12, 18, 15, 16, 13, 15, 16, 11, 11),
)


def enumerate_paths(initial, transition, local, length):
    """All paths of one sequence `[p, length]` and their log potentials; `initial` `[k]`, `transition` `[k, k]` or
    `[T - 1, k, k]`, `local` `[T, k]`."""
    initial, transition, local = (np.asarray(a) for a in (initial, transition, local))
    paths = np.array(list(itertools.product(range(len(initial)), repeat=length)))
    value = initial[paths[:, 0]] + local[np.arange(length)[None], paths].sum(1)
    each = np.broadcast_to(transition, (max(length, len(transition) + 1) - 1, *transition.shape[-2:]))
    return paths, value + each[np.arange(length - 1)[None], paths[:, :-1], paths[:, 1:]].sum(1)


def moments(initial, transition, local, lengths):
    """Marginals as the kernel has them, and log-normalizers, for arrays with the sequences last."""
    steps, k, n = local.shape
    every, pairs, value = np.zeros((steps, k, n)), np.zeros((steps - 1, k, k, n)), np.zeros(n)
    for s in range(n):
        paths, log = enumerate_paths(initial[:, s], transition[..., s], local[..., s], lengths[s])
        value[s] = logsumexp(log)
        if value[s] == -np.inf:
            continue
        p = np.exp(log - value[s])
        for t in range(lengths[s]):
            np.add.at(every[t, :, s], paths[:, t], p)
            if t:
                np.add.at(pairs[t - 1, ..., s], (paths[:, t - 1], paths[:, t]), p)
    return (every[0], pairs if transition.ndim == 4 else pairs.sum(0), every), value


@lru_cache
def potentials(steps=6, k=3, n=4, scale=3.0):
    """Random log potentials, and lengths from 1 to `steps`."""
    rng = np.random.default_rng(40)
    initial = np.log(rng.dirichlet(np.ones(k), n).T)
    transition = np.log(np.moveaxis(rng.dirichlet(np.ones(k), (n, k)), 0, -1))
    local = scale * rng.standard_normal((steps, k, n))
    return initial, transition, local, np.array([steps, 1, *rng.integers(2, steps, n - 2)])


@lru_cache
def stepwise(steps=6, k=3, n=4, scale=3.0):
    """The same with transition potentials of every step."""
    initial, _, local, lengths = potentials(steps, k, n, scale)
    rng = np.random.default_rng(44)
    return initial, np.log(np.moveaxis(rng.dirichlet(np.ones(k), (steps - 1, n, k)), 1, -1)), local, lengths


@lru_cache
def counts(n=6, steps=40, offset=0):
    """Counts of two states that last, and the parameters they were drawn with."""
    rng = np.random.default_rng(41)
    initial, transition = np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.2, 0.8]])
    rate = np.array([[2.0, 6.0], [7.0, 3.0]])
    states = np.zeros((n, steps), int)
    for row in states:
        row[0] = rng.random() > initial[0]
        for t in range(1, steps):
            row[t] = rng.random() > transition[row[t - 1], 0]
    return rng.poisson(rate[states]).astype(float), states, (initial, transition, rate)
