"""Posteriors of the means and covariances of normal distributions, in the coordinates of their kernel."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxem._conjugate import AbstractConjugate
from jaxem.families.kernels._gaussian_trees import GaussianNatural, GaussianParams
from jaxem.families.priors import NormalInverseWishart


@final
class GaussianConjugate(AbstractConjugate):
    """Normal-inverse-Wishart posteriors of means and covariances."""

    kernel: Any

    def posterior(self, stats: GaussianNatural) -> NormalInverseWishart:
        kernel, s, (k, d) = self.kernel, self.kernel.structure, stats.linear.shape
        prior, counts, total, scatter = kernel.prior_here(k, d, stats.linear.dtype), *stats[1:]
        if kernel.anchor is None:
            return prior.update(s, counts, total, scatter)
        location, factor, _ = kernel.anchor
        about = eqx.tree_at(lambda p: p.mean, prior, prior.mean - location)
        found = about.update(s, counts, s.colour(factor, total), s.congruence(factor, scatter))
        return eqx.tree_at(lambda p: p.mean, found, found.mean + location)

    def expected_natural(self, posterior: NormalInverseWishart) -> GaussianNatural:
        log_det, offset, linear, quadratic = self.kernel.natural(self.mean(posterior))
        excess = jnp.broadcast_to(posterior.log_excess(self.kernel.structure), log_det.shape)
        offset = offset - posterior.mean.shape[1] / (2 * posterior.mean_precision)
        return GaussianNatural(log_det + excess / 2, offset, linear, quadratic)

    def mean(self, posterior: NormalInverseWishart) -> GaussianParams:
        """The mean, and `scale / degrees_of_freedom`: the inverse of the expected precision.

        The expected covariance has `degrees_of_freedom - d - 1` below the line, which need not be positive.
        """
        return GaussianParams(posterior.mean, posterior.covariance)

    def draw(self, key: PRNGKeyArray, posterior: NormalInverseWishart) -> GaussianParams:
        return GaussianParams(*posterior.draw(key, self.kernel.structure))

    def kl(self, posterior: NormalInverseWishart) -> Array:
        k, d = posterior.mean.shape
        return posterior.kl(self.kernel.prior_here(k, d, posterior.mean.dtype), self.kernel.structure)

    def unconstrain(self, posterior):
        return posterior.unconstrain(self.kernel.structure)

    def constrain(self, free):
        return NormalInverseWishart.constrain(free, self.kernel.structure)

    def encode(self, posterior):
        return recoded(self.kernel.scaled, posterior)

    def decode(self, posterior):
        return recoded(self.kernel.decode, posterior)


def recoded(code: Callable[[GaussianParams], GaussianParams], posterior: NormalInverseWishart) -> NormalInverseWishart:
    """The posterior with its means and scales as `code` leads them to other coordinates."""
    moved = code(GaussianParams(posterior.mean, posterior.scale))
    return eqx.tree_at(lambda p: (p.mean, p.scale), posterior, tuple(moved))
