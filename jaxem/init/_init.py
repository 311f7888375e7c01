from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._model import collect


class AbstractInit(eqx.Module):
    """How starting parameters of a mixture are drawn. `model` is bound; the result is in its coordinates."""

    @abstractmethod
    def __call__(self, model: Any, key: PRNGKeyArray, data: PyTree, weights: Array) -> PyTree:
        """Starting parameters."""


def rows_of(data: PyTree) -> tuple[PyTree, Array | None]:
    """Rows and, where some are known, labels."""
    return (data.rows, data.labels) if hasattr(data, "labels") else (data, None)


def subsample(key: PRNGKeyArray, data: PyTree, weights: Array, most: int) -> tuple[PyTree, Array, PRNGKeyArray]:
    """At most `most` rows, drawn without replacement, their weights, and a key for what follows."""
    n = weights.shape[0]
    if n <= most:
        return data, weights, key
    # One row from each of `most` stretches: distinct, and cheap for any n.
    keys = jax.random.split(key)
    blocks = jnp.asarray(np.linspace(0, n, most + 1).astype(np.int32))
    width = jnp.diff(blocks)
    offset = (jax.random.uniform(keys[0], (most,), jnp.float32) * width.astype(jnp.float32)).astype(jnp.int32)
    chosen = blocks[:-1] + jnp.minimum(offset, width - 1)
    return jax.tree.map(lambda a: a[chosen], data), weights[chosen], keys[1]


def from_assignment(model: Any, moments: Array, data: PyTree, weights: Array, params: PyTree) -> PyTree:
    """The M-step at given responsibilities `[k, n]`; labels, where known, win over them."""
    rows, labels = rows_of(data)
    if labels is not None:
        classes = jnp.arange(moments.shape[0], dtype=labels.dtype)
        known = (labels[None, :] == classes[:, None]).astype(moments.dtype)
        moments = jnp.where(labels[None, :] < 0, moments, known)
    if not model.linear:
        return model.put(params, model.distribution.warm(model.own(params), rows, moments * weights[None]))
    if jnp.finfo(weights.dtype).eps > 1e-10:  # double precision has digits to spare for a start
        model = model.accurate() or model
    model = model.at(params)

    def posterior(potentials):
        return model.latent.given(potentials, moments), None

    stats, _ = collect(model, model.natural(params), data, weights, posterior)
    return model.maximize(stats, params)
