from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.families import univariate
from jaxem.families._scaled import AbstractScaledCounts, draw_log
from jaxem.families.kernels.counts import NegativeBinomialKernel
from jaxem.families.kernels.counts import NegativeBinomialParams as NegativeBinomialParams
from jaxem.families.kernels.poisson import PoissonKernel
from jaxem.families.poisson import Poisson, PoissonParams
from jaxem.families.priors import Gamma


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
