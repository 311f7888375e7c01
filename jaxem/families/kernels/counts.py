"""Kernels of negative binomial counts: Poisson ones whose mean is multiplied by a hidden scale."""

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families._counts import deviance, log_ratio
from jaxem.families.kernels.glm import sizes
from jaxem.families.kernels.poisson import best_rate
from jaxem.families.kernels.scaled import AbstractScaledKernel, about_mean, log_constant
from jaxem.families.responses import Responses
from jaxem.kernels.rows import without_weight
from jaxem.kernels.special import ratio_divergence
from jaxem.latent import GammaScaleTree


class Origin(NamedTuple):
    """For each count the value of `u` that others are measured by, the most probable one at some parameters.

    The joint density of a count and its `u` is stationary there: what rounding leaves of `u` does not matter, and terms
    that grow with the counts do not appear.
    """

    scale: Array  # u
    centred: Array  # log u - u + 1

    @staticmethod
    def of(shape: Array, mean: Array, y: Array) -> "Origin":
        scale = (shape + y) / (shape + mean)
        return Origin(scale, -ratio_divergence(scale))

    @staticmethod
    def one(like: Array) -> "Origin":
        return Origin(jnp.ones_like(like), jnp.zeros_like(like))

    def gamma(self, shape: Array, mean: Array, y: Array) -> tuple[Array, Array, Array]:
        """Coefficients of `log v - v + 1`, `log v` and `v` for `v = u / scale`, linear in the arguments.

        They belong with a constant `shape * centred`, and the Poisson density of `y` at a mean of `scale * mean`.
        """
        own = self.scale * (shape + mean)
        return own, shape + y - own, jnp.zeros_like(own)


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
class NegativeBinomialKernel(AbstractScaledKernel):
    """Counts whose scale is measured from the most probable one at an `anchor`; `base` is the Poisson kernel."""

    family: Any
    base: Any
    anchor: NegativeBinomialParams | None = None

    # The map

    def natural(self, params: NegativeBinomialParams) -> NegativeBinomialNatural:
        mean, anchor = params.mean, self._mean(params.mean)
        shape = jnp.broadcast_to(self.family.shape(params), mean.shape)
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
        return jnp.ones_like(like) if self.anchor is None else self.anchor.mean

    def _origin(self, y: Array, mean: Array) -> Origin:
        if self.anchor is None:
            return Origin.one(mean * y)
        shape = jnp.broadcast_to(self.family.shape(self.anchor), self.anchor.mean.shape)
        return Origin.of(shape[:, None], mean, y)

    # The maximum

    def maximize(
        self, stats: NegativeBinomialNatural, params: NegativeBinomialParams, frozen: tuple[str, ...] = ()
    ) -> NegativeBinomialParams:
        mean = params.mean
        if "mean" not in frozen:
            mean = best_rate(self.family.prior, stats.log_mean, -stats.mean, without_weight(stats.constant), mean)
        return NegativeBinomialParams(mean, self.family.estimate(stats.shape, stats.constant, params, frozen))

    def maximize_expanded(
        self, stats: NegativeBinomialNatural, params: NegativeBinomialParams, frozen: tuple[str, ...] = ()
    ) -> NegativeBinomialParams:
        """`maximize` over a mean of `u` as well, which then goes into `mean` (Liu, Rubin and Wu 1998)."""
        self.family.require_no_prior()
        if "mean" in frozen:
            return self.maximize(stats, params, frozen)
        counts, totals, empty = stats.constant, -stats.mean, without_weight(stats.constant)
        mean = jnp.where(empty, 1, totals / jnp.where(empty, 1, counts))
        own = best_rate(None, stats.log_mean, counts, empty, params.mean)
        excess = about_mean(stats.shape, counts, totals, mean)
        return NegativeBinomialParams(own, self.family.estimate(excess, counts, params, frozen))

    # Accuracy

    def about(self, params):
        return NegativeBinomialKernel(self.family, self.base, jax.lax.stop_gradient(params))

    def translate(self, stats, source):
        new, old = self._mean(stats.mean), source._mean(stats.mean)
        moved = stats.log_mean * log_ratio(new, old) + stats.mean * (new - old)
        return stats._replace(anchor=stats.anchor + moved)

    def floats_per_row(self, params: Any):
        return 2 * params.mean.shape[1], 12 * params.mean.size


class NegativeBinomialRegressionParams(NamedTuple):
    """Coefficients `[k, p]` of the covariates in the log means, and `theta`, `[k]` or `[]`."""

    coefficients: Float[Array, "k p"]
    theta: Array


@final
class NegativeBinomialRegressionKernel(AbstractScaledKernel):
    """The same for counts whose log mean is linear in covariates; `base` is the kernel of the Poisson regression."""

    family: Any
    base: Any
    anchor: NegativeBinomialRegressionParams | None = None

    def natural(self, params: NegativeBinomialRegressionParams) -> NegativeBinomialRegressionParams:
        return params

    def potentials(self, natural: NegativeBinomialRegressionParams, x: Responses) -> GammaScaleTree:
        base, y, size = self.base.family, x.y[None], sizes(x)[None]
        shape, mean, predictor = self._moments(natural, x)
        origin = Origin.one(mean) if self.anchor is None else Origin.of(*self._moments(self.anchor, x)[:2], y)
        conditional = base.log_density(predictor, y, size * origin.scale)
        value = log_constant(shape) + shape * origin.centred + conditional
        return GammaScaleTree(jnp.sum(value, tuple(range(2, value.ndim))), *origin.gamma(shape, mean, y))

    def _moments(self, params: NegativeBinomialRegressionParams, x: Responses) -> tuple[Array, Array, Array]:
        """Shapes, means and linear predictors of the responses, `[k, n, ...]`."""
        predictor = self.base.predictor(params.coefficients, x.x)
        mean = self.base.family.mean_and_slope(predictor, sizes(x)[None])[0]
        shape = jnp.broadcast_to(self.family.shape(params), params.coefficients.shape[:1])
        return shape.reshape(-1, *(1 for _ in x.y.shape)), mean, predictor

    def about(self, params):
        return NegativeBinomialRegressionKernel(self.family, self.base, jax.lax.stop_gradient(params))

    def floats_per_row(self, params):
        k, p = params.coefficients.shape
        return 2 * p, 16 * k
