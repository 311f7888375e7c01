"""Information criteria, on the scale of minus twice the log-likelihood: smaller is better."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.special import entr

from jaxem._bound import rows_per_chunk
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem.engine.buckets import ASKED, filled
from jaxem.engine.convert import as_data
from jaxem.engine.door import count_rows, for_start, question
from jaxem.engine.programs import program
from jaxem.engine.spread import is_spread
from jaxem.kernels.chunks import num_rows, sum_chunks
from jaxem.kernels.sums import weighted_sum
from jaxem.models import Mixture

_FEW_NUMBERS = 2**16  # of a posterior that is looked at on the host


def num_observations(model: AbstractModel, data: PyTree, weights: Any = None) -> Float[Array, ""]:
    """How many observations criteria count: those of `model.observed(data)`, each as often as its weight says.

    That is the total weight of what was observed: rows with at least one entry, steps of sequences of which something
    was observed (each with the weight of its sequence), documents with words.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> x = jnp.array([[1.0, jnp.nan], [jnp.nan, jnp.nan], [2.0, 3.0]])
    >>> model = jaxem.models.MultivariateNormal(missing=True)
    >>> float(jaxem.selection.num_observations(model, x, jnp.array([1.0, 1.0, 4.0])))
    5.0
    """
    data, each = for_start(data, weights)
    table = filled(data, each, each.dtype, ASKED, model.lengthen)
    return _observed(model, data, each) if table is None else _observed(model, table.data, table.weights)


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
    log_likelihood = model.log_likelihood(params, data, weights)
    return -2 * log_likelihood + 2 * _num_parameters(model, params, log_likelihood)


def bic(model: AbstractModel, params: PyTree, data: PyTree, weights: Any = None) -> Array:
    """The Bayesian criterion, `-2 log L + p log n` with `n = num_observations(model, data, weights)` (Schwarz 1978).

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> round(float(jaxem.selection.bic(model, fit.params, x)))
    2322
    """
    log_likelihood = model.log_likelihood(params, data, weights)
    total = num_observations(model, data, weights).astype(log_likelihood.dtype)
    return -2 * log_likelihood + _num_parameters(model, params, log_likelihood) * jnp.log(total)


def icl(model: AbstractModel, params: PyTree, data: PyTree, weights: Any = None) -> Array:
    """The integrated completed likelihood: `bic` plus twice the entropy of the posterior of the discrete latents.

    It asks for components that do not overlap (Biernacki, Celeux and Govaert 2000). The entropy is that of components
    given rows, or of whole paths given sequences; what else a family hides does not count.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> model = jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> round(float(jaxem.selection.icl(model, fit.params, x)), -1)
    2320.0
    """
    return bic(model, params, data, weights) + 2 * total_entropy(model, params, data, weights)


def from_numbers(
    log_likelihood: float, num_parameters: int, num_observations: float, entropy: float | None
) -> dict[str, float | None]:
    """`bic`, `aic` and `icl` from what they are made of; no `icl` without the entropy of discrete latents."""
    bic = -2 * log_likelihood + num_parameters * math.log(num_observations)
    aic = 2 * num_parameters - 2 * log_likelihood
    return {"bic": bic, "aic": aic, "icl": None if entropy is None else bic + 2 * entropy}


def entropy_if_discrete(model: AbstractModel, params: PyTree, data: PyTree, weights: Any) -> float | None:
    """`total_entropy`, or `None` for a model without discrete latents.

    That of components is worked out from the posterior, which who chooses a mixture asks for next.
    """
    data = as_data(data)
    n = count_rows(data)
    few = isinstance(model, Mixture) and not is_spread(data) and n * model.num_components <= _FEW_NUMBERS
    w = np.ones(n) if weights is None or not few else np.asarray(weights, float)
    if few and np.all(w > 0):  # a row of weight 0 may hold anything, for which there is no posterior to ask
        return float(np.sum(w * entr(np.asarray(model.posterior(params, data), float)).sum(1)))
    try:
        return float(total_entropy(model, params, data, weights))
    except MissingCapabilityError:
        return None


def _num_parameters(model: AbstractModel, params: PyTree, like: Array) -> Array:
    return jnp.asarray(model.num_parameters(params)).astype(like.dtype)


@program(quickly=True)
def _observed(model: AbstractModel, data: PyTree, weights: Array) -> Array:
    return jnp.sum(weights * model.observed(data).astype(weights.dtype))


@question
def total_entropy(model: AbstractModel, params: PyTree, data: PyTree, weights: Any) -> Array:
    """The entropy of the discrete latents of all observations given the data, in nats."""
    n, dtype = num_rows(data), jax.tree.leaves(params)[0].dtype
    w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)

    def one(chunk, w, index):
        return (), weighted_sum(w, model.entropy(params, chunk))

    return sum_chunks(one, data, w, rows_per_chunk(model.bound(), params, n))[1]
