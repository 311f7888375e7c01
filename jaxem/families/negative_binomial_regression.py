from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families import univariate
from jaxem.families._scaled import AbstractScaledCounts
from jaxem.families.glm import PoissonRegression, as_columns, as_deviation
from jaxem.families.kernels.counts import NegativeBinomialRegressionKernel
from jaxem.families.kernels.counts import NegativeBinomialRegressionParams as NegativeBinomialRegressionParams
from jaxem.families.kernels.glm import GLMParams
from jaxem.families.responses import Responses


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

    parameters: ClassVar[tuple[str, ...]] = ("coefficients", "theta")
    linear: ClassVar[bool] = False

    @property
    def base(self) -> PoissonRegression:
        return PoissonRegression(self.common, self.prior_deviation)

    def of_base(self, params):
        return GLMParams(params.coefficients)

    def joined(self, own, spread):
        return NegativeBinomialRegressionParams(own.coefficients, spread)

    def like(self, own):
        return own.coefficients[:, 0]

    def kernel(self) -> NegativeBinomialRegressionKernel:
        return NegativeBinomialRegressionKernel(self, self.base.kernel())

    def bind(self, x: Any, weights, reduce):
        return NegativeBinomialRegressionKernel(self, self.base.bind(x, weights, reduce))

    def mean(self, params: NegativeBinomialRegressionParams, rows: Responses) -> Float[Array, "k n"]:
        """Expected responses under each member, with their `size`; `rows.y` is not looked at."""
        return self.base.mean(self.of_base(params), rows)

    def marginal(self, params, column, rows=None):
        rows = univariate.require_covariates(rows, type(self).__name__)
        theta = jnp.broadcast_to(self.value(params), params.coefficients.shape[:1])[:, None]
        distribution = univariate.NegativeBinomial(self.mean(params, rows), theta)
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    def sample(self, key, params, labels):
        return self.base.sample(key, self.of_base(params), labels)
