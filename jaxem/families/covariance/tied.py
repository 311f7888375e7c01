from typing import ClassVar, final

import jax.numpy as jnp

from jaxem.families.covariance._structure import AbstractCovariance
from jaxem.families.covariance.full import Full
from jaxem.kernels import linalg


@final
class Tied(AbstractCovariance):
    """One covariance matrix for all members, `[d, d]`."""

    shared: ClassVar[bool] = True
    full: Full = Full()

    def square(self, x):
        return linalg.products(x)

    def pack(self, quadratic):
        return linalg.pack_symmetric(quadratic)

    def form(self, quadratic, linear, y):
        return self.full.form(jnp.broadcast_to(quadratic, (y.shape[0], *quadratic.shape)), linear, y)

    def factor(self, covariance):
        return self.full.factor(covariance)

    def half_log_det(self, factor, d):
        return linalg.half_log_det(factor)

    def whiten(self, factor, y):
        return self.full.whiten(factor[None], y)

    def inverse(self, factor):
        return self.full.inverse(factor)

    def whitened(self, inverse, location, x):
        return self.full.whitened(jnp.broadcast_to(inverse, (location.shape[0], *inverse.shape)), location, x)

    def colour(self, factor, y):
        return self.full.colour(factor[None], y)

    def congruence(self, factor, quadratic):
        return self.full.congruence(factor, quadratic)

    def uncolour(self, factor, quadratic):
        return self.full.uncolour(factor, quadratic)

    def precision(self, factor, about):
        return self.full.precision(factor, about)

    def apply(self, quadratic, y):
        return self.full.apply(quadratic[None], y)

    def outer(self, a, b):
        return self.full.outer(a, b)

    def divide(self, scatter, count, d):
        return linalg.symmetrize(scatter) / jnp.sum(count)

    def rescale(self, covariance, scale):
        return self.full.rescale(covariance, scale)

    def clip(self, covariance, floor):
        return self.full.clip(covariance, floor)

    def at_floor(self, covariance, floor):
        return self.full.at_floor(covariance, floor)

    def variances(self, covariance, d):
        return self.full.variances(covariance[None], d)

    def identity(self, k, variances):
        return jnp.diag(variances)

    def unconstrain(self, covariance):
        return self.full.unconstrain(covariance)

    def constrain(self, free):
        return self.full.constrain(free)

    def prior_count(self, dof, d, k):
        return (dof + d + 1) / k + 1

    def prior_normalizer(self, dof, scale, d, k):
        return self.full.prior_normalizer(dof, scale, d, 1)

    def posterior_dof(self, dof, counts, d):
        return dof + jnp.sum(counts)

    def least_dof(self, d):
        return self.full.least_dof(d)

    def log_excess(self, dof, d):
        return self.full.log_excess(dof, d)

    def divergence(self, scale, dof, prior_scale, prior_dof):
        return self.full.divergence(scale, dof, prior_scale, prior_dof)

    def draw(self, key, scale, dof):
        return self.full.draw(key, scale, dof)

    def coloured_noise(self, covariance, labels, noise):
        return linalg.matmul(noise, linalg.transpose(self.factor(covariance)))
