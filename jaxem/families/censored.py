"""Normal values, and responses, of which some are known only to lie in an interval."""

import dataclasses
import math
from abc import abstractmethod
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._design import check_design
from jaxem.families._wrapped import AbstractWrapped
from jaxem.families.covariance import AbstractVariances
from jaxem.families.gaussian import Gaussian
from jaxem.families.intervals import Interval, as_columns, check_bounds, check_intervals, check_spread, no_bounds
from jaxem.families.kernels.censored import CensoredKernel, CensoredRegressionKernel
from jaxem.families.regression import LinearRegression
from jaxem.families.responses import Responses, check_responses, require_responses
from jaxem.kernels.chunks import not_finite
from jaxem.latent import TruncatedNormal


class AbstractCensoredNormal(AbstractWrapped):
    """Values whose images under some increasing function are normal."""

    family: Gaussian = Gaussian("diagonal")

    def __check_init__(self):
        if not isinstance(self.family, Gaussian) or not isinstance(self.family.structure, AbstractVariances):
            raise ValueError(
                'family must be jaxem.Gaussian("diagonal", ...) or jaxem.Gaussian("spherical", ...): the columns of '
                "censored rows are independent"
            )

    def wrap(self, family):
        return dataclasses.replace(self, family=family)

    @abstractmethod
    def normal(self, x: Interval) -> Interval:
        """The intervals of the normal values, `[n, d]`."""

    @property
    def latent(self) -> TruncatedNormal:
        return TruncatedNormal()

    def marginal(self, params, column, rows=None):
        inner = self.family.marginal(params, column)
        return univariate.Marginal(inner.distribution, univariate.entries(rows, column))

    def log_jacobian(self, x: Interval) -> Float[Array, " n"]:
        """Of the function, at the values that are known; minus infinity for rows that it leads nowhere."""
        return jnp.zeros(x.lower.shape[0], x.lower.dtype)

    def kernel(self) -> CensoredKernel:
        return CensoredKernel(self, self.family.kernel())

    def bind(self, x, weights, reduce):
        # Statistics about each member's mean: they cost no more than others here.
        base: Any = self.family.bind(self.normal(x).point, weights, reduce)
        return CensoredKernel(self, base.accurate() or base)

    # The door of data

    def check_shape(self, params, x, name="data"):
        check_bounds(x, params.mean.shape[1], name)

    def unusable(self, x):
        return no_bounds(x)


@final
class CensoredNormal(AbstractCensoredNormal):
    """Independent normal columns of which some values are known only to lie in an interval.

    Rows are a `jaxem.Interval`, `[n]` or `[n, d]`; the hidden variables are the values themselves, normal and
    truncated to their intervals. Parameters are `GaussianParams`: means `[k, d]` and variances `[k, d]`, or `[k]` if
    spherical.

    **Arguments:**

    - `family`: `jaxem.Gaussian("diagonal", prior, floor)`, or `"spherical"`: prior and M-step are that family's.

    Dempster, Laird and Rubin (1977), section 4.2; Little and Rubin (2019).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jaxem.Interval.right(jnp.array([1.0, 2.0, 3.0, 4.0]), censored=[0, 0, 0, 1])
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.CensoredNormal()), y, key=jax.random.key(0), tol=1e-9)
    >>> round(float(fit.params.mean[0]), 2), round(float(fit.params.covariance[0]), 2)
    (2.69, 2.06)
    """

    def normal(self, x: Interval) -> Interval:
        return as_columns(x)

    def sample(self, key, params, labels):
        """Draws that are not censored."""
        y = self.family.sample(key, params, labels)
        return Interval(y, y)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_intervals(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        if self.family.prior is None:
            check_spread(x, name, "variance")


@final
class CensoredLogNormal(AbstractCensoredNormal):
    """Independent log-normal columns of which some values are known only to lie in an interval.

    As `CensoredNormal`, for the logarithms; parameters are their means and variances. Densities are those of the values
    themselves.

    **Arguments:**

    - `family`: of the logarithms: `jaxem.Gaussian("diagonal", prior, floor)`, or `"spherical"`.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> y = jaxem.Interval.left(jnp.array([0.5, 1.0, 2.0, 4.0]), censored=[1, 0, 0, 0])
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.CensoredLogNormal()), y, key=jax.random.key(0), tol=1e-9)
    >>> round(float(jnp.exp(fit.params.mean[0])), 2)
    1.24
    """

    def normal(self, x: Interval) -> Interval:
        return as_columns(Interval(*(log_bound(bound) for bound in x)))

    def marginal(self, params, column, rows=None):
        inner = super().marginal(params, column, rows)
        normal: Any = inner.distribution
        return inner._replace(distribution=univariate.LogNormal(normal.mean, normal.deviation))

    def log_jacobian(self, x: Any) -> Float[Array, " n"]:
        seen = as_columns(x)
        known = seen.is_exact & (seen.lower > 0)
        jacobian = -jnp.sum(jnp.where(known, jnp.log(jnp.where(known, seen.lower, 1)), 0), -1)
        possible = jnp.all(jnp.where(seen.is_exact, seen.lower > 0, seen.upper > 0), -1)
        return jnp.where(possible, jacobian, -jnp.inf)

    def sample(self, key, params, labels):
        """Draws that are not censored."""
        y = jnp.exp(self.family.sample(key, params, labels))
        return Interval(y, y)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_intervals(x, name, positive=True)

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        if self.family.prior is None:
            with np.errstate(divide="ignore"):
                logs = Interval(*(np.log(np.maximum(bound, 0)) for bound in x))  # pyright: ignore[reportArgumentType]
            check_spread(logs, f"{name} (logarithms)", "variance")


def log_bound(bound: Array) -> Array:
    """Logarithms of the bounds of positive values: one that is not positive is none."""
    positive = bound > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, bound, 1)), -jnp.inf)


@final
class CensoredRegression(AbstractWrapped):
    """Linear regression of responses some of which are known only to lie in an interval.

    Rows are `jaxem.Responses(x, y)` with a `jaxem.Interval` `[n]` for `y`, or with plain responses and a `lower` or an
    `upper` limit. The hidden variables are the responses. Parameters are `RegressionParams`.

    **Arguments:**

    - `family`: `jaxem.LinearRegression(...)`, whose M-step and coordinates are taken.
    - `lower`, `upper`: limits of the responses: those at a limit, or beyond, are censored there (Tobin 1958).
    - `scale_power`: adds `-scale_power log(sigma)` for the standard deviation `sigma` of each member to the objective,
        whose maximum is then the mode of the posterior under the improper prior density `sigma^-scale_power`.

    Schmee and Hahn (1979); Amemiya (1984); Wei and Tanner (1990).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.stack([jnp.ones(6), jnp.arange(6.0)], 1)
    >>> y = jnp.array([0.0, 0.0, 0.3, 1.4, 2.2, 3.3])
    >>> model = jaxem.Single(jaxem.families.CensoredRegression(lower=0.0))
    >>> fit = jaxem.fit(model, jaxem.Responses(x, y), key=jax.random.key(0), tol=1e-9)
    >>> [round(float(value), 1) for value in fit.params.coefficients]
    [-1.6, 1.0]
    """

    family: LinearRegression = LinearRegression()
    lower: float = eqx.field(static=True, default=-math.inf)
    upper: float = eqx.field(static=True, default=math.inf)
    scale_power: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not isinstance(self.family, LinearRegression):
            raise ValueError(f"family must be a jaxem.LinearRegression, got {type(self.family).__name__}")
        if not self.lower < self.upper:
            raise ValueError(f"lower must be less than upper, got {self.lower} and {self.upper}")
        if not self.scale_power >= 0:
            raise ValueError(f"scale_power must not be negative, got {self.scale_power}")

    def wrap(self, family):
        return dataclasses.replace(self, family=family)

    @property
    def latent(self) -> TruncatedNormal:
        return TruncatedNormal()

    def responses(self, y: Any) -> Interval:
        """The intervals of the responses."""
        return y if isinstance(y, Interval) else Interval.limited(y, self.lower, self.upper)

    def points(self, x: Any) -> Any:
        """Rows with a value in its interval for each response."""
        return Responses(x.x, self.responses(x.y).point)

    def kernel(self) -> CensoredRegressionKernel:
        return CensoredRegressionKernel(self, self.family.kernel())

    def bind(self, x, weights, reduce):
        return CensoredRegressionKernel(self, self.family.bind(self.points(x), weights, reduce))

    def marginal(self, params, column, rows=None):
        distribution = self.family.marginal(params, column, rows).distribution
        return univariate.Marginal(distribution, None if rows is None else self.responses(rows.y))

    # The door of data

    def unusable(self, x):
        return not_finite(x.x) | (no_bounds(x.y) if isinstance(x.y, Interval) else ~jnp.isfinite(x.y))

    def check_rows(self, x: Any, name: str = "data") -> None:
        require_responses(x, name)
        y: Any = x.y
        if isinstance(y, Interval):
            if math.isfinite(self.lower) or math.isfinite(self.upper):
                raise DataError(f"{name}.y is a jaxem.Interval, which states its own bounds: leave out lower and upper")
            check_intervals(y, f"{name}.y")
            if np.ndim(y.lower) != 1:
                raise DataError(f"{name}.y must have bounds [n], got {np.shape(y.lower)}")
        check_responses(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        lower, upper = (np.asarray(bound) for bound in self.responses(x.y))
        check_design(Responses(x.x, np.where(np.isneginf(lower), upper, lower), x.size), name)  # pyright: ignore[reportArgumentType]
        for bound, side in ((lower, "left"), (upper, "right")):
            if np.isinf(bound).all():
                raise DataError(
                    f"{name}.y: every row is {side}-censored, so that the likelihood has no maximum; it takes rows "
                    "with a value or an interval, or bounds from both sides"
                )
