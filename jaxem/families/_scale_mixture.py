"""What distributions with Student t tails share: a normal family, each of whose rows has a hidden precision."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem.families._scaled import AbstractScaled, about_mean, log_constant
from jaxem.latent import GammaScale, GammaScaleTree


class ScaleNatural(NamedTuple):
    """Coefficients of 1, of `log u - u + 1` and of `log u`, and `u` times those of the normal family.

    The last but for its log determinant, whose place is taken by the count of `u` alone.
    """

    constant: Float[Array, " k"]
    shape: Float[Array, " k"]
    power: Float[Array, " k"]
    normal: Any


class AbstractScaleMixture(AbstractScaled):
    """Normal rows whose precision is multiplied by a hidden `u`, gamma of mean 1 with `degrees_of_freedom`.

    Parameters are those of the normal family `base` and `degrees_of_freedom`, `[k]` or, if `pooled`, a number.
    """

    spread: ClassVar[str] = "degrees_of_freedom"
    per_shape: ClassVar[float] = 2.0
    bounds: ClassVar[tuple[float, float]] = (1e-2, 1e6)
    first: ClassVar[float] = 4.0

    @abstractmethod
    def num_columns(self, params: Any) -> int:
        """How many columns the precision of a row belongs to."""

    @property
    def latent(self) -> GammaScale:
        return GammaScale(common=True)

    def like(self, own: Any) -> Array:
        return self.base.natural(own).log_det

    # The linear map

    def natural(self, params: PyTree) -> ScaleNatural:
        normal = self.base.natural(self.of_base(params))
        shape = jnp.broadcast_to(self.shape(params), normal.log_det.shape)
        power = jnp.full_like(shape, self.num_columns(params) / 2)
        constant = normal.log_det + log_constant(shape)
        return ScaleNatural(constant, shape, power, normal._replace(log_det=jnp.zeros_like(shape)))

    def potentials(self, natural: ScaleNatural, x: PyTree) -> GammaScaleTree:
        rate = self.base.potentials(natural.normal, x)
        constant, shape, power = (jnp.broadcast_to(leaf[:, None], rate.shape) for leaf in natural[:3])
        return GammaScaleTree(constant, shape, power, rate)

    # The M-step

    def maximize(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        own = self.base.maximize(stats.normal._replace(log_det=stats.constant), self.of_base(params), frozen)
        return self.joined(own, self.estimate(stats.shape, stats.constant, params, frozen))

    def maximize_expanded(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """`maximize` over a mean of `u` as well, which then goes into the scale (Liu, Rubin and Wu 1998)."""
        self.require_no_prior()
        if any(name in frozen for name in self.base.parameters[1:]):
            return self.maximize(stats, params, frozen)
        counts, totals = stats.constant, stats.normal.log_det
        if self.base.coupled:
            # One scale for all members, the best at the degrees of freedom so far.
            shape = self.shape(params)
            over, under = jnp.sum(shape * totals), jnp.sum(shape * counts)
            over, under = jnp.broadcast_to(over, counts.shape), jnp.broadcast_to(under, counts.shape)
        else:
            over, under = totals, jnp.where(self.empty(counts), 0, counts)
        mean = jnp.where((over > 0) & (under > 0), over / jnp.where(under > 0, under, 1), 1)
        # Divided by the sum of `u` in place of the count.
        own = self.base.maximize(stats.normal._replace(log_det=mean * counts), self.of_base(params), frozen)
        excess = about_mean(stats.shape, counts, totals, mean)
        return self.joined(own, self.estimate(excess, counts, params, frozen))

    # Accuracy

    def at(self, params):
        return self.with_base(self.base.at(self.of_base(params)))

    def translate(self, stats, source):
        return stats._replace(normal=self.base.translate(stats.normal, source.base))

    def loss(self, params, natural=None):
        return self.base.loss(self.of_base(params), None if natural is None else natural.normal)

    def accurate(self):
        base = self.base.accurate()
        return None if base is None else self.with_base(base)

    def floats_per_row(self, params):
        own = self.of_base(params)
        shared, each = self.base.floats_per_row(own)
        return shared, each + 8 * own[0].shape[0]
