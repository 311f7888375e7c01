import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families._counts import deviance, log_ratio
from jaxem.families._scaled import about_mean, draw_log, log_constant
from jaxem.families._scaled_counts import AbstractScaledCounts, Origin
from jaxem.families.poisson import Poisson, PoissonParams, best_rate
from jaxem.families.priors import Gamma
from jaxem.latent import GammaScaleTree


class NegativeBinomialParams(NamedTuple):
    """Means, `[k, d]`, and `theta`, `[k, d]` or `[d]`: a variance is `mean + mean^2 / theta`."""

    mean: Float[Array, "k d"]
    theta: Array


class NegativeBinomialNatural(NamedTuple):
    """Coefficients of 1, of `log u - u + 1`, of the counts, of `-u`, and of the log density at the anchor (always 1).

    Those of counts and of `-u` are the logarithm of the mean and the mean, less those at the anchor; all `[k, d]`.
    """

    constant: Float[Array, "k d"]
    shape: Float[Array, "k d"]
    log_mean: Float[Array, "k d"]
    mean: Float[Array, "k d"]
    anchor: Float[Array, "k d"]


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
    _anchor: NegativeBinomialParams | None = None

    parameters: ClassVar[tuple[str, ...]] = ("mean", "theta")

    @property
    def base(self) -> Poisson:
        return Poisson(self.prior, None, None, True)

    def with_base(self, base):
        return dataclasses.replace(self, prior=base.prior)

    def of_base(self, params):
        return PoissonParams(params.mean)

    def joined(self, own, spread):
        return NegativeBinomialParams(own.rate, spread)

    def like(self, own):
        return own.rate

    # The linear map

    def natural(self, params: NegativeBinomialParams) -> NegativeBinomialNatural:
        mean, anchor = params.mean, self._mean(params.mean)
        shape = jnp.broadcast_to(self.shape(params), mean.shape)
        return NegativeBinomialNatural(
            log_constant(shape), shape, log_ratio(mean, anchor), mean - anchor, jnp.ones_like(mean)
        )

    def potentials(self, natural: NegativeBinomialNatural, x: Float[Array, "n d"]) -> GammaScaleTree:
        y, anchor = x[None], self._mean(natural.mean)[:, None]
        constant, shape, log_mean, change, one = (leaf[:, None] for leaf in natural)
        origin = self._origin(y, anchor)
        conditional = log_mean * y - origin.scale * change - one * deviance(y, origin.scale * anchor)
        value = jnp.sum(constant + shape * origin.centred + conditional, -1)
        return GammaScaleTree(value, *origin.gamma(shape, one * anchor + change, one * y))

    def _mean(self, like: Array) -> Array:
        return jnp.ones_like(like) if self._anchor is None else self._anchor.mean

    def _origin(self, y: Array, mean: Array) -> Origin:
        if self._anchor is None:
            return Origin.one(mean * y)
        shape = jnp.broadcast_to(self.shape(self._anchor), self._anchor.mean.shape)
        return Origin.of(shape[:, None], mean, y)

    def translate(self, stats, source):
        new, old = self._mean(stats.mean), source._mean(stats.mean)
        moved = stats.log_mean * log_ratio(new, old) + stats.mean * (new - old)
        return stats._replace(anchor=stats.anchor + moved)

    # The M-step

    def maximize(
        self, stats: NegativeBinomialNatural, params: NegativeBinomialParams, frozen: tuple[str, ...] = ()
    ) -> NegativeBinomialParams:
        mean = params.mean
        if "mean" not in frozen:
            mean = best_rate(self.prior, stats.log_mean, -stats.mean, self.empty(stats.constant), mean)
        return NegativeBinomialParams(mean, self.estimate(stats.shape, stats.constant, params, frozen))

    def maximize_expanded(
        self, stats: NegativeBinomialNatural, params: NegativeBinomialParams, frozen: tuple[str, ...] = ()
    ) -> NegativeBinomialParams:
        """`maximize` over a mean of `u` as well, which then goes into `mean` (Liu, Rubin and Wu 1998)."""
        self.require_no_prior()
        if "mean" in frozen:
            return self.maximize(stats, params, frozen)
        counts, totals, empty = stats.constant, -stats.mean, self.empty(stats.constant)
        mean = jnp.where(empty, 1, totals / jnp.where(empty, 1, counts))
        own = best_rate(None, stats.log_mean, counts, empty, params.mean)
        excess = about_mean(stats.shape, counts, totals, mean)
        return NegativeBinomialParams(own, self.estimate(excess, counts, params, frozen))

    # Data

    def sample(self, key, params, labels):
        keys = jax.random.split(key)
        mean = params.mean[labels]
        shape = jnp.broadcast_to(self.shape(params), params.mean.shape)[labels]
        return jax.random.poisson(keys[1], jnp.exp(draw_log(keys[0], shape)) * mean).astype(mean.dtype)

    def floats_per_row(self, params: Any):
        return 2 * params.mean.shape[1], 12 * params.mean.size
