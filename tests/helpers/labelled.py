"""Rows of two clusters of which some are labelled, and the starts of a model of them."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxem

N, K, PER = 240, 2, 5
KEYS = jax.random.split(jax.random.key(3), 16)
RNG = np.random.default_rng(4)
SIDE = RNG.integers(0, K, N)


def some(side, per=PER, seed=0):
    """Labels of `per` rows of each cluster, -1 for the others."""
    labels, rng = np.full(len(side), -1), np.random.default_rng(seed)
    for j in np.unique(side):
        labels[rng.choice(np.flatnonzero(side == j), per, replace=False)] = j
    return jnp.asarray(labels)


LABELS = some(SIDE)
FAR = 20.0 * SIDE[:, None] + RNG.normal(size=(N, 1))
COUNTS = RNG.poisson(np.where(SIDE, 3.0, 20.0)[:, None], (N, 2)).astype(float)
BITS = (RNG.random((N, 8)) < np.where(SIDE, 0.9, 0.1)[:, None]).astype(float)
WIDE = np.c_[FAR, COUNTS]
X = np.c_[np.ones(N), RNG.normal(size=N)]
LINE = np.where(SIDE, 1 + 2 * X[:, 1], -3 - 2 * X[:, 1]) + 0.3 * RNG.normal(size=N)
LINES = jaxem.Responses(X, LINE)
HOLES = np.where(RNG.random(WIDE.shape) < 0.2, np.nan, WIDE)


def starts(model, rows, labels=LABELS, keys=KEYS, weights=None, bound=True):
    """Starts for all keys, in one program, in the user's coordinates."""
    rows = jax.tree.map(jnp.asarray, rows)
    data = rows if labels is None else jaxem.Labelled(rows, labels)
    weights = jnp.ones(len(jax.tree.leaves(rows)[0])) if weights is None else weights

    @jax.jit
    def draw(data, weights):
        own = model.bind(data, weights) if bound else model.bound()
        return jax.vmap(lambda key: own.decode(own.init(key, data, weights)))(keys)

    return draw(data, weights)
