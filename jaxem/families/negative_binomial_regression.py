import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families._frame import Frame
from jaxem.families._glm import GLMParams, as_columns, as_deviation, sizes
from jaxem.families._scaled import log_constant
from jaxem.families._scaled_counts import AbstractScaledCounts, Origin
from jaxem.families.glm import PoissonRegression
from jaxem.families.responses import Responses
from jaxem.latent import GammaScaleTree


class NegativeBinomialRegressionParams(NamedTuple):
    """Coefficients `[k, p]` of the covariates in the log means, and `theta`, `[k]` or `[]`."""

    coefficients: Float[Array, "k p"]
    theta: Array


@final
class NegativeBinomialRegression(AbstractScaledCounts):
    """Overdispersed counts whose log mean is linear in covariates: a `PoissonRegression` with a hidden scale.

    `y ~ Poisson(u * mean)` with `mean = size * exp(x @ coefficients)` and `u` gamma of mean 1 and shape `theta`: the
    variance is `mean + mean^2 / theta`.

    **Arguments:**

    - `theta`, `shared_theta`: as for `NegativeBinomial`; `shared_theta` makes it one number for all members.
    - `common`, `prior_deviation`: as for `PoissonRegression`.

    Rows are `jaxem.Responses(x, y, size)`, as for `PoissonRegression`; where an observation has several counts each has
    a scale of its own. Parameters are `NegativeBinomialRegressionParams`. There is no closed-form M-step (rung 1):
    fitted by EM gradient (the default), `jaxem.algorithms.newton()` and the like. Lawless (1987); Hilbe (2011).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> dose = jnp.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(6), dose], 1), jnp.array([0.0, 3.0, 1.0, 6.0, 2.0, 21.0]))
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.NegativeBinomialRegression()), rows, key=jax.random.key(0))
    >>> [round(float(value), 1) for value in (*fit.params.coefficients, fit.params.theta)]
    [0.3, 1.0, 1.4]
    """

    common: tuple[int, ...] = eqx.field(static=True, default=(), converter=as_columns)
    prior_deviation: float | tuple[float, ...] | None = eqx.field(static=True, default=None, converter=as_deviation)
    theta: float | None = eqx.field(static=True, default=None)
    shared_theta: bool = eqx.field(static=True, default=False)
    _frame: Frame | None = None
    _anchor: NegativeBinomialRegressionParams | None = None

    parameters: ClassVar[tuple[str, ...]] = ("coefficients", "theta")
    linear: ClassVar[bool] = False

    @property
    def base(self) -> PoissonRegression:
        return PoissonRegression(self.common, self.prior_deviation, self._frame)

    def with_base(self, base):
        return dataclasses.replace(self, common=base.common, prior_deviation=base.prior_deviation, _frame=base._frame)

    def of_base(self, params):
        return GLMParams(params.coefficients)

    def joined(self, own, spread):
        return NegativeBinomialRegressionParams(own.coefficients, spread)

    def like(self, own):
        return own.coefficients[:, 0]

    # The rows

    def natural(self, params: NegativeBinomialRegressionParams) -> NegativeBinomialRegressionParams:
        return params

    def potentials(self, natural: NegativeBinomialRegressionParams, x: Responses) -> GammaScaleTree:
        base, y, size = self.base, x.y[None], sizes(x)[None]
        shape, mean, predictor = self._moments(natural, x)
        origin = Origin.one(mean) if self._anchor is None else Origin.of(*self._moments(self._anchor, x)[:2], y)
        conditional = base.log_density(predictor, y, size * origin.scale)
        value = log_constant(shape) + shape * origin.centred + conditional
        return GammaScaleTree(jnp.sum(value, tuple(range(2, value.ndim))), *origin.gamma(shape, mean, y))

    def _moments(self, params: NegativeBinomialRegressionParams, x: Responses) -> tuple[Array, Array, Array]:
        """Shapes, means and linear predictors of the responses, `[k, n, ...]`."""
        predictor = self.base.predictor(params.coefficients, x.x)
        mean = self.base.mean_and_slope(predictor, sizes(x)[None])[0]
        shape = jnp.broadcast_to(self.shape(params), params.coefficients.shape[:1])
        return shape.reshape(-1, *(1 for _ in x.y.shape)), mean, predictor

    def mean(self, params: NegativeBinomialRegressionParams, rows: Responses) -> Float[Array, "k n"]:
        """Expected responses under each member, with their `size`; `rows.y` is not looked at."""
        return self.base.mean(self.of_base(params), rows)

    def bind(self, x: Any, weights, reduce):
        return self.with_base(self.base.bind(x, weights, reduce))

    def sample(self, key, params, labels):
        return self.base.sample(key, self.of_base(params), labels)

    def floats_per_row(self, params):
        k, p = params.coefficients.shape
        return 2 * p, 16 * k
