"""Counts that vary more than Poisson ones: columns, and responses."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families import univariate
from jaxem.families._scaled import AbstractScaledCounts, draw_log
from jaxem.families.glm import PoissonRegression, as_columns, as_deviation
from jaxem.families.kernels.counts import NegativeBinomialKernel, NegativeBinomialRegressionKernel
from jaxem.families.kernels.counts import NegativeBinomialParams as NegativeBinomialParams
from jaxem.families.kernels.counts import NegativeBinomialRegressionParams as NegativeBinomialRegressionParams
from jaxem.families.kernels.glm import GLMParams
from jaxem.families.kernels.poisson import PoissonKernel
from jaxem.families.poisson import Poisson, PoissonParams
from jaxem.families.priors import Gamma
from jaxem.families.responses import Responses


@final
class NegativeBinomial(AbstractScaledCounts):
    """Independent negative binomial columns: counts that vary more than Poisson ones.

    A count is Poisson with mean `u * mean`, where a hidden `u` is gamma of mean 1 and shape `theta`: its variance is
    `mean + mean^2 / theta`. Elsewhere `theta` is called `size` (R) or `n` (SciPy, with `p = theta / (theta + mean)`),
    or stands as `1 / alpha`; 1 makes the counts geometric.

    **Arguments:**

    - `theta`: a number that all columns keep; estimated if `None`, in `[0.001, 1e6]`. An estimate on its way to the
        upper end says that counts vary no more than Poisson ones: it is not an error, and the likelihood is that of the
        Poisson limit.
    - `shared_theta`: one `theta` `[d]` for all members instead of `[k, d]`.
    - `prior`: a `Gamma` on the means, for their posterior mode.

    Each count has a hidden scale: see `jaxem.latent.GammaScale`. `jaxem.px_em()` takes fewer iterations than
    `jaxem.em()`, far fewer where means are well above `theta`. Log densities keep their digits for counts in the
    millions and any `theta`, in single precision too. Greenwood and Yule (1920).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> counts = jnp.array([[0.0], [0.0], [1.0], [2.0], [3.0], [12.0]])
    >>> fit = jaxem.fit(jaxem.Single(jaxem.families.NegativeBinomial()), counts, key=jax.random.key(0))
    >>> [round(float(value[0]), 1) for value in fit.params]
    [3.0, 0.6]
    """

    theta: float | None = eqx.field(static=True, default=None)
    shared_theta: bool = eqx.field(static=True, default=False)
    prior: Gamma | None = None

    parameters: ClassVar[tuple[str, ...]] = ("mean", "theta")

    @property
    def base(self) -> Poisson:
        return Poisson(self.prior)

    def of_base(self, params):
        return PoissonParams(params.mean)

    def joined(self, own, spread):
        return NegativeBinomialParams(own.rate, spread)

    def like(self, own):
        return own.rate

    def kernel(self) -> NegativeBinomialKernel:
        return NegativeBinomialKernel(self, PoissonKernel(self.base, anchored=True))

    def marginal(self, params, column, rows=None):
        theta = jnp.broadcast_to(self.value(params), params.mean.shape)
        distribution = univariate.NegativeBinomial(*(univariate.of_column(a, column) for a in (params.mean, theta)))
        return univariate.Marginal(distribution, univariate.entries(rows, column))

    def sample(self, key, params, labels):
        keys = jax.random.split(key)
        mean = params.mean[labels]
        shape = jnp.broadcast_to(self.shape(params), params.mean.shape)[labels]
        return jax.random.poisson(keys[1], jnp.exp(draw_log(keys[0], shape)) * mean).astype(mean.dtype)


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
