import dataclasses
import math
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxem._errors import DataError
from jaxem.families import univariate
from jaxem.families._design import check_design
from jaxem.families._wrapped import AbstractWrapped
from jaxem.families.intervals import Interval, check_intervals, no_bounds
from jaxem.families.kernels.censored import CensoredRegressionKernel
from jaxem.families.regression import LinearRegression
from jaxem.families.responses import Responses, check_responses, require_responses
from jaxem.kernels.chunks import not_finite
from jaxem.latent import TruncatedNormal


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
