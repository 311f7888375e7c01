"""Densities, distribution functions and quantiles of one column."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem.engine.convert import as_table, float_dtype, is_concrete
from jaxem.engine.door import for_question
from jaxem.families.univariate import Stacked
from jaxem.goodness._mixed import Mixed, asked, check_asked, fixed, missing_as, mixed, require_mixture


def density(model: AbstractModel, params: PyTree, x: Any, *, column: Any = 0, log: bool = False) -> Array:
    """Density of a column under a fitted model, or the probability of its values if they are discrete.

    For `Single`, `Mixture` and `MixtureOfExperts`, of families that say how a column is distributed by itself (see
    `jaxem.families.univariate`). Works under `jit`, and has derivatives.

    **Arguments:**

    - `model`, `params`: a model and its parameters.
    - `x`: values, of any shape. Where the distribution depends on covariates, rows as the model takes them
        (`jaxem.Responses`, `jaxem.models.Gated`), whose responses are the values.
    - `column`: which column of the rows. Of a `Product` of a dictionary of tables, a name, or a name and a column.
    - `log`: whether to return its logarithm.

    **Returns:** an array of the shape of `x`, or `[n]`; NaN where `x` is.

    **Raises:** `MissingCapabilityError` for a family, or a model, that does not say how a column is distributed;
    `DataError` for a column that is not there, and where some values have a probability and others a density.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.Poisson(), 2)
    >>> params = jaxem.models.MixtureParams(
    ...     jnp.array([0.5, 0.5]), jaxem.families.PoissonParams(jnp.array([[1.0], [3.0]]))
    ... )
    >>> [round(float(value), 3) for value in jaxem.goodness.density(model, params, jnp.arange(3))]
    [0.209, 0.259, 0.204]
    """
    given = asked(model, params, x, column)
    value = _log_density(model, given.params, given.data, given.values, column).reshape(given.shape)
    return value if log else jnp.exp(value)


def cdf(
    model: AbstractModel, params: PyTree, x: Any, *, column: Any = 0, upper: bool = False, log: bool = False
) -> Array:
    """`P(X <= x)` of a column under a fitted model, or `P(X > x)`.

    **Arguments:** as for `density`, and

    - `upper`: whether to return `P(X > x)`, which has all its digits also where it is small.
    - `log`: whether to return the logarithm, which is finite for values in the far tails.

    **Returns:** an array of the shape of `x`, or `[n]`; NaN where `x` is.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Gaussian())
    >>> params = jaxem.families.GaussianParams(jnp.zeros(1), jnp.ones((1, 1)))
    >>> round(float(jaxem.goodness.cdf(model, params, 1.96)), 3)
    0.975
    """
    given = asked(model, params, x, column)
    below, above = _log_tails(model, given.params, given.data, given.values, column)
    value = (above if upper else below).reshape(given.shape)
    return value if log else jnp.exp(value)


@eqx.filter_jit
def _log_density(model: AbstractModel, params: PyTree, data: PyTree, values: Array, column: Any) -> Array:
    found, _ = mixed(model, params, column, data)
    kinds = found.distribution.parts if isinstance(found.distribution, Stacked) else (found.distribution,)
    if len({part.discrete for part in kinds}) > 1:
        raise DataError("some values have a probability and others a density: there is no one density; see `cdf`")
    missing, values = missing_as(values)
    return jnp.where(missing, jnp.nan, found.log_density(values))


@eqx.filter_jit
def _log_tails(model: AbstractModel, params: PyTree, data: PyTree, values: Array, column: Any) -> tuple[Array, Array]:
    found, _ = mixed(model, params, column, data)
    missing, values = missing_as(values)
    below, above = (jnp.where(missing, jnp.nan, tail) for tail in found.log_tails(values))
    return below, above


def quantile(
    model: AbstractModel, params: PyTree, p: Any, *, column: Any = 0, upper: bool = False, data: Any = None
) -> Array:
    """The value that a column does not exceed with probability `p`, under a fitted model.

    Of values with a density: by bisection on a scale that reaches over the whole range of the precision, and Newton's
    method for the last digits. Of integers: the least `x` with `P(X <= x) >= p`. Works under `jit`, and has derivatives
    in `p` and the parameters where there is a density.

    **Arguments:**

    - `model`, `params`, `column`: as for `density`.
    - `p`: probabilities, of any shape; with `data`, `[n]` or a number.
    - `upper`: whether `p` is the probability of exceeding the value.
    - `data`: rows as the model takes them, where the distribution depends on covariates; their responses do not matter.

    **Returns:** an array of the shape of `p`, or `[n]`. At a probability of 0 and 1 the ends of the range.

    **Raises:** as `density`, and `DataError` for what is no probability.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> components = jaxem.families.GaussianParams(jnp.array([[-3.0], [3.0]]), jnp.ones((2, 1, 1)))
    >>> params = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), components)
    >>> found = jaxem.goodness.quantile(jaxem.GaussianMixture(2), params, jnp.array([0.25, 0.75]))
    >>> [round(float(value), 2) for value in found]
    [-3.0, 3.0]
    """
    if is_concrete(p):
        given = np.asarray(as_table(p, "p"), float)
        wrong = np.argwhere(~((given >= 0) & (given <= 1)) & ~np.isnan(given))
        if len(wrong):
            raise DataError(f"p must lie in [0, 1], got {given[tuple(wrong[0])]!r}")
    require_mixture(model)
    if data is None:
        check_asked(model, params)
    else:
        data, _, params, _ = for_question(model, params, data)
    return _quantile(model, params, jnp.asarray(as_table(p, "p", dtype=float_dtype(params))), column, upper, data)


@eqx.filter_jit
def _quantile(model: AbstractModel, params: PyTree, p: Array, column: Any, upper: bool, data: Any) -> Array:
    found, values = mixed(model, params, column, data)
    p = p.astype(float_dtype(params))
    if values is not None:
        p = jnp.broadcast_to(p, values.lower.shape)
    shape, p = p.shape, p.reshape(-1)
    unknown = jnp.isnan(p)
    p = jnp.where(unknown, 0.5, p)
    below, above = _logs(1 - p if upper else p, p if upper else 1 - p, upper, p)
    x = _integer(found, below, above) if found.distribution.discrete else _real(found, below, above)
    least = 0.0 if found.distribution.positive else -jnp.inf
    x = jnp.where(below == -jnp.inf, least, jnp.where(above == -jnp.inf, _most(found), x))
    return jnp.where(unknown, jnp.nan, x).reshape(shape)


def _logs(below: Array, above: Array, upper: bool, p: Array) -> tuple[Array, Array]:
    """`log(p)` and `log(1 - p)`, which of the two are those below and above; minus infinity at the ends."""
    some, more = p > 0, p < 1
    own = jnp.where(some, jnp.log(jnp.where(some, p, 1)), -jnp.inf)
    rest = jnp.where(more, jnp.log1p(-jnp.where(more, p, 0)), -jnp.inf)
    return (rest, own) if upper else (own, rest)


def _real(found: Mixed, below: Array, above: Array) -> Array:
    dtype = below.dtype
    still, goal, rest = fixed(found), fixed(below), fixed(above)
    left = goal < rest
    middle, spread, most = _units(still, goal)
    steps = 70 if dtype == np.float64 else 40

    def to_x(u: Array) -> Array:
        return spread * jnp.exp(u) if still.distribution.positive else middle + spread * jnp.sinh(u)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        u = (low + high) / 2
        lower, upper = still.log_tails(to_x(u))
        short = jnp.where(left, lower < goal, upper > rest)
        return jnp.where(short, u, low), jnp.where(short, high, u)

    end = jnp.full_like(goal, most)
    low, high = jax.lax.fori_loop(0, steps, halve, (-end, end))
    x = to_x((low + high) / 2)
    size = jnp.sqrt(jnp.finfo(dtype).eps) * jnp.where(still.distribution.positive, x, spread + jnp.abs(x - middle))

    def change(found: Mixed, below: Array, above: Array, x: Array) -> Array:
        lower, upper = found.log_tails(x)
        density = fixed(found.log_density(x))
        return jnp.where(
            left,
            (lower - below) * jnp.exp(fixed(lower) - density),
            (above - upper) * jnp.exp(fixed(upper) - density),
        )

    for _ in range(2):
        moved = change(still, goal, rest, x)
        x = jnp.where(jnp.abs(moved) <= size, x - moved, x)
    # The last step carries the derivative.
    moved, inside = change(found, below, above, x), jnp.isfinite(goal) & jnp.isfinite(rest)
    moved = jnp.where(inside & jnp.isfinite(moved), moved, 0)
    x = x - jnp.where(jnp.abs(moved) <= size, moved, moved - fixed(moved))
    # What lies beyond all that was looked at is beyond the precision.
    least = 0.0 if still.distribution.positive else -jnp.inf
    return jnp.where(high >= end, jnp.inf, jnp.where(low <= -end, least, x))


def _units(found: Mixed, like: Array) -> tuple[Array, Array, float]:
    """A value amid the others, a distance, and how far the logarithm of a value may be from that of the distance."""
    middle, spread = found.distribution.typical()
    share = jnp.exp(found.log_weights)
    if found.distribution.positive:
        logs = jnp.log(jnp.maximum(middle, jnp.finfo(like.dtype).tiny))
        unit = jnp.exp(jnp.sum(share * logs, 0))
        center = unit
    else:
        center = jnp.sum(share * middle, 0)
        unit = jnp.sum(share * (spread + jnp.abs(middle - center[None])), 0)
    least = jnp.finfo(like.dtype).tiny ** 0.5
    unit = jnp.maximum(unit, least)
    return center, unit, 600.0 if like.dtype == np.float64 else 70.0


def _integer(found: Mixed, below: Array, above: Array) -> Array:
    found, below, above = fixed((found, below, above))
    left = below < above
    # As much as R allows: the quantile of a probability that was computed is the value that it belongs to.
    slack = 64 * jnp.finfo(below.dtype).eps
    wanted = jnp.isfinite(below) & jnp.isfinite(above)

    def reached(x: Array) -> Array:
        lower, upper = found.log_tails(x)
        return jnp.where(left, lower >= below - slack, upper <= above + slack) | ~wanted

    middle, spread = found.distribution.typical()
    share = jnp.exp(found.log_weights)
    start = jnp.broadcast_to(jnp.ceil(jnp.sum(share * (middle + spread), 0)) + 1, below.shape)
    limit = jnp.finfo(below.dtype).max / 4
    high = jax.lax.while_loop(
        lambda high: jnp.any(~reached(high) & (high < limit)),
        lambda high: jnp.where(reached(high), high, 2 * high),
        start,
    )

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        x = jnp.floor((low + high) / 2)
        enough = reached(x)
        return jnp.where(enough, low, x), jnp.where(enough, x, high)

    steps = 64 if below.dtype == np.float64 else 40
    return jax.lax.fori_loop(0, steps, halve, (jnp.full_like(high, -1), high))[1]


def _most(found: Mixed) -> Array:
    """The largest value that there is, or infinity."""
    possible = found.log_weights > -jnp.inf
    return jnp.max(jnp.where(possible, found.distribution.highest(), -jnp.inf), 0)
