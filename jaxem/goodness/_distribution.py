"""`density` and `cdf` of a fitted model, in one dimension."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem.families.univariate import Stacked
from jaxem.goodness._mixed import asked, missing_as, mixed


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
