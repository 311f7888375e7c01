"""Information criteria, on the scale of minus twice the log-likelihood: smaller is better."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._model import AbstractModel, weighted_sum
from jaxem.kernels.chunks import chunk_rows, num_rows, sum_chunks


def aic(model: AbstractModel, params: PyTree, data: PyTree, weights: Any = None) -> Array:
    """Akaike's criterion, `-2 log L + 2 p` with `p = model.num_parameters(params)` (Akaike 1974).

    `data` are rows as for `fit`, `weights` `[n]` their weights (a weight of `k` counts as `k` rows).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> round(float(jaxem.selection.aic(model, fit.params, x)))
    2283
    """
    return -2 * model.log_likelihood(params, data, weights) + 2.0 * model.num_parameters(params)


def bic(model: AbstractModel, params: PyTree, data: PyTree, weights: Any = None) -> Array:
    """The Bayesian criterion, `-2 log L + p log n` with `n` the total weight of the rows (Schwarz 1978).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> round(float(jaxem.selection.bic(model, fit.params, x)))
    2322
    """
    log_likelihood = model.log_likelihood(params, data, weights)
    total = float(num_rows(data)) if weights is None else jnp.sum(jnp.asarray(weights, log_likelihood.dtype))
    return -2 * log_likelihood + float(model.num_parameters(params)) * jnp.log(total)


def icl(model: AbstractModel, params: PyTree, data: PyTree, weights: Any = None) -> Array:
    """The integrated completed likelihood: `bic` plus twice the entropy of the posterior of the latents.

    It asks for components that do not overlap (Biernacki, Celeux and Govaert 2000).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> round(float(jaxem.selection.icl(model, fit.params, x)))
    2323
    """
    return bic(model, params, data, weights) + 2 * _entropy(model, params, data, weights)


@eqx.filter_jit
def _entropy(model: AbstractModel, params: PyTree, data: PyTree, weights: Any) -> Array:
    n, dtype = num_rows(data), jax.tree.leaves(params)[0].dtype
    w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)

    def one(chunk, w, index):
        return (), weighted_sum(w, model.latent.entropy(model.expectation(params, chunk)[0]))

    return sum_chunks(one, data, w, chunk_rows(n, model.floats_per_row(params)))[1]
