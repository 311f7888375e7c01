"""How large members are: the expected number of observations of each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._bound import rows_per_chunk
from jaxem.engine.door import question
from jaxem.kernels.chunks import num_rows, sum_chunks
from jaxem.kernels.linalg import matmul
from jaxem.latent import Categorical
from jaxem.models import LDA
from jaxem.models.joined import AbstractJoined


def sizes_of(model: Any, params: PyTree, data: PyTree, weights: Any) -> Float[np.ndarray, " k"] | None:
    """Expected numbers of observations (of words, for topics) of each member, `[k]`; `None` where there are none."""
    if isinstance(model, LDA):
        concentration = np.asarray(model.posterior(params, data).concentration, float)
        each = concentration - np.broadcast_to(np.asarray(params.concentration, float), concentration.shape)
        return each.sum(0) if weights is None else np.asarray(weights, float) @ each
    joined = isinstance(model, AbstractJoined)
    if not (joined and model.structure.members) and not (not joined and isinstance(model.latent, Categorical)):
        return None
    return np.asarray(_counts(model, params, data, weights=weights), float)


@question
def _counts(model: Any, params: PyTree, data: PyTree, *, weights: Any = None) -> Float[Array, " k"]:
    n, dtype = num_rows(data), jax.tree.leaves(params)[0].dtype
    w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)

    def one(chunk: PyTree, w: Array, index: Array) -> tuple[Array, Array]:
        if not isinstance(model, AbstractJoined):
            return matmul(model.expectation(params, chunk)[0], w), jnp.zeros((), dtype)
        shares = model.posterior(params, chunk)
        if model.structure.sequential:
            each = model.structure.row_weights(chunk, w)
        else:
            each = jnp.where(model.observed(chunk) > 0, w, 0)
        return matmul(each, shares.reshape(-1, shares.shape[-1])), jnp.zeros((), dtype)

    return sum_chunks(one, data, w, rows_per_chunk(model.bound(), params, n))[0]
