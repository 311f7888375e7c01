"""`pseudo_residuals`: where observations lie in the distribution that a model has for them, as normal scores."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._arguments import require_key
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem.engine.convert import float_dtype
from jaxem.engine.door import for_question
from jaxem.families.univariate import marginal_of
from jaxem.goodness._mixed import Mixed, missing_as, mixed, safe_log
from jaxem.kernels.tails import survival_quantile
from jaxem.models._chain import AbstractChainModel
from jaxem.structures.sequences import steps_of

KINDS = ("ordinary", "forecast")


class PseudoResiduals(NamedTuple):
    """Normal scores of observations, `[n]`, or `[n, T]` of sequences; NaN where nothing was observed.

    - `value`: standard normal variables if the model is right, for continuous values or with a `key`.
    - `lower`, `upper`: the ends of the segment that a count, or an interval, takes up; equal to `value` for values with
        a density.
    """

    value: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


def pseudo_residuals(
    model: AbstractModel,
    params: PyTree,
    data: Any,
    *,
    kind: str = "ordinary",
    column: Any = 0,
    key: PRNGKeyArray | None = None,
) -> PseudoResiduals:
    """Quantile residuals: the standard normal quantile of the probability up to each observation, under the model.

    If the model is right they are standard normal, whatever its distributions are (Dunn and Smyth 1996). Those of a
    step of a hidden Markov model are taken from its distribution given all other steps of its sequence, or the steps
    before it; the latter are independent of each other, too (Zucchini, MacDonald and Langrock 2016, chapter 6). Rows of
    all other models are independent.

    A count takes up a segment of probability, from that of less to that of as much, and so does a value known to lie in
    an interval. Its residual is a draw from the segment, or without a `key` that of its middle: then residuals vary
    less than normal ones.

    Works under `jit`.

    **Arguments:**

    - `model`, `params`: a fitted `Single`, `Mixture`, `MixtureOfExperts` or `HMM`, of a family that says how a column
        is distributed (see `jaxem.families.univariate`). Regressions have residuals of their responses.
    - `data`: as for `fit`.
    - `kind`: of steps of sequences: `"ordinary"`, given all other steps, or `"forecast"`, given those before.
    - `column`: which column of the rows; see `jaxem.goodness.density`.
    - `key`: a JAX random key, for residuals of counts and intervals that are drawn.

    **Returns:** `PseudoResiduals`.

    **Raises:** `MissingCapabilityError` for other families and models, `DataError` for wrong arguments.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Poisson())
    >>> params = jaxem.families.PoissonParams(jnp.array([2.0]))
    >>> found = jaxem.goodness.pseudo_residuals(model, params, jnp.array([[0.0], [2.0], [9.0]]))
    >>> [round(float(value), 1) for value in found.value]
    [-1.5, 0.1, 3.6]
    """
    if kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    if key is not None:
        require_key(key)
    data, _, params, _ = for_question(model, params, data)
    if isinstance(model, AbstractChainModel):
        states = (model.given_others if kind == "ordinary" else model.given_past)(params, data)
        return _of_steps(model, params, data, states, column, key)
    if kind == "forecast":
        raise MissingCapabilityError(
            f'kind="forecast" is for steps of sequences, and rows of {type(model).__name__} are independent'
        )
    return _of_rows(model, params, data, column, key)


@eqx.filter_jit
def _of_rows(model: Any, params: PyTree, data: PyTree, column: Any, key: Any) -> PseudoResiduals:
    found, values = mixed(model, params, column, data)
    return _scores(found, values, key)


@eqx.filter_jit
def _of_steps(model: Any, params: PyTree, data: PyTree, states: Array, column: Any, key: Any) -> PseudoResiduals:
    members = model.structure.split(params)[1]
    marginal = marginal_of(model.distribution, members, column, model.rows(data))
    n, steps, k = states.shape
    log_weights = safe_log(jnp.transpose(states, (2, 0, 1)).reshape(k, -1).astype(float_dtype(params)))
    found = _scores(Mixed(log_weights, marginal.distribution), marginal.values, key)
    seen = steps_of(data).seen()
    return jax.tree.map(lambda leaf: jnp.where(seen, leaf.reshape(n, steps), jnp.nan), found)


def _scores(found: Mixed, values: Any, key: PRNGKeyArray | None) -> PseudoResiduals:
    unknown, low = missing_as(values.lower)
    high = jnp.where(unknown, low, values.upper)
    before, upto = found.log_tails_below(low), found.log_tails(high)
    if key is None:
        share = jnp.full_like(low, 0.5)
    else:
        share = jax.random.uniform(key, low.shape, low.dtype, minval=jnp.finfo(low.dtype).tiny)
    logs = jnp.log1p(-share), jnp.log(share)
    between = tuple(jnp.logaddexp(logs[0] + a, logs[1] + b) for a, b in zip(before, upto, strict=True))
    # The same number, where a density leaves no room.
    point = before[0] == upto[0]
    between = tuple(jnp.where(point, a, own) for a, own in zip(before, between, strict=True))
    lower, upper, value = (_score(*tails) for tails in (before, upto, between))
    return PseudoResiduals(*(jnp.where(unknown, jnp.nan, score) for score in (value, lower, upper)))


def _score(below: Array, above: Array) -> Array:
    """The normal quantile, from the log probability that is the smaller."""
    left = below < above
    log = jnp.where(left, below, above)
    least = jnp.finfo(log.dtype).min / 4
    nothing = log < least
    distance = survival_quantile(jnp.clip(log, least, math.log(0.5)))
    distance = jnp.where(nothing, jnp.inf, distance)
    return jnp.where(left, -distance, distance)
