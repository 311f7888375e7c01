"""What negative binomial families share: Poisson counts whose mean is multiplied by a hidden scale."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.families._scaled import AbstractScaled
from jaxem.kernels.special import ratio_divergence
from jaxem.latent import GammaScale


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


class AbstractScaledCounts(AbstractScaled):
    """Counts with a mean, and a hidden multiple of it for each: negative binomial ones, of variance
    `mean + mean^2 / theta`."""

    _anchor: eqx.AbstractVar[Any]

    spread: ClassVar[str] = "theta"
    bounds: ClassVar[tuple[float, float]] = (1e-3, 1e6)
    first: ClassVar[float] = 2.0

    @property
    def latent(self) -> GammaScale:
        return GammaScale()

    def at(self, params):
        return eqx.tree_at(lambda f: f._anchor, self, jax.lax.stop_gradient(params), is_leaf=lambda leaf: leaf is None)
