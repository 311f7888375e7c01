"""The kernel of distributions with Student t tails: that of a normal family, with a hidden precision for each row."""

from typing import Any, NamedTuple, final

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem.families.kernels.scaled import AbstractScaledKernel, about_mean, log_constant
from jaxem.kernels.rows import without_weight
from jaxem.latent import GammaScaleTree


class ScaleNatural(NamedTuple):
    """Coefficients of 1, of `log u - u + 1` and of `log u`, and `u` times those of the normal family.

    The last but for its log determinant, whose place is taken by the count of `u` alone.
    """

    constant: Float[Array, " k"]
    shape: Float[Array, " k"]
    power: Float[Array, " k"]
    normal: Any


@final
class ScaleMixtureKernel(AbstractScaledKernel):
    """Normal rows on the kernel `base`, whose precision is multiplied by a hidden gamma variable of mean 1."""

    family: Any
    base: Any

    # The map

    def natural(self, params: PyTree) -> ScaleNatural:
        normal = self.base.natural(self.family.of_base(params))
        shape = jnp.broadcast_to(self.family.shape(params), normal.log_det.shape)
        power = jnp.full_like(shape, self.family.num_columns(params) / 2)
        constant = normal.log_det + log_constant(shape)
        return ScaleNatural(constant, shape, power, normal._replace(log_det=jnp.zeros_like(shape)))

    def potentials(self, natural: ScaleNatural, x: PyTree) -> GammaScaleTree:
        rate = self.base.potentials(natural.normal, x)
        constant, shape, power = (jnp.broadcast_to(leaf[:, None], rate.shape) for leaf in natural[:3])
        return GammaScaleTree(constant, shape, power, rate)

    # The maximum

    def maximize(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        own = self.base.maximize(stats.normal._replace(log_det=stats.constant), self.family.of_base(params), frozen)
        return self.family.joined(own, self.family.estimate(stats.shape, stats.constant, params, frozen))

    def maximize_expanded(self, stats: ScaleNatural, params: PyTree, frozen: tuple[str, ...] = ()) -> PyTree:
        """`maximize` over a mean of `u` as well, which then goes into the scale (Liu, Rubin and Wu 1998)."""
        self.family.require_no_prior()
        if any(name in frozen for name in self.base.family.parameters[1:]):
            return self.maximize(stats, params, frozen)
        counts, totals = stats.constant, stats.normal.log_det
        if self.base.family.coupled:
            # One scale for all members, the best at the degrees of freedom so far.
            shape = self.family.shape(params)
            over, under = jnp.sum(shape * totals), jnp.sum(shape * counts)
            over, under = jnp.broadcast_to(over, counts.shape), jnp.broadcast_to(under, counts.shape)
        else:
            over, under = totals, jnp.where(without_weight(counts), 0, counts)
        mean = jnp.where((over > 0) & (under > 0), over / jnp.where(under > 0, under, 1), 1)
        # Divided by the sum of `u` in place of the count.
        own = self.base.maximize(stats.normal._replace(log_det=mean * counts), self.family.of_base(params), frozen)
        excess = about_mean(stats.shape, counts, totals, mean)
        return self.family.joined(own, self.family.estimate(excess, counts, params, frozen))

    # Accuracy

    def about(self, params):
        return ScaleMixtureKernel(self.family, self.base.about(self.family.of_base(params)))

    def translate(self, stats, source):
        return stats._replace(normal=self.base.translate(stats.normal, source.base))

    def rounding_error(self, params, natural=None):
        return self.base.rounding_error(self.family.of_base(params), None if natural is None else natural.normal)

    def accurate(self):
        base = self.base.accurate()
        return None if base is None else ScaleMixtureKernel(self.family, base)

    def floats_per_row(self, params):
        own = self.family.of_base(params)
        shared, each = self.base.floats_per_row(own)
        return shared, each + 8 * own[0].shape[0]
