from typing import ClassVar, final

import jax.numpy as jnp

from jaxem.families.covariance._matrices import AbstractMatrices
from jaxem.kernels import linalg


@final
class Tied(AbstractMatrices):
    """One covariance matrix for all members, `[d, d]`."""

    shared: ClassVar[bool] = True

    def form(self, quadratic, linear, y):
        return super().form(jnp.broadcast_to(quadratic, (y.shape[0], *quadratic.shape)), linear, y)

    def whiten(self, factor, y):
        return super().whiten(factor[None], y)

    def whitened(self, inverse, location, x):
        return super().whitened(jnp.broadcast_to(inverse, (location.shape[0], *inverse.shape)), location, x)

    def colour(self, factor, y):
        return super().colour(factor[None], y)

    def apply(self, quadratic, y):
        return super().apply(quadratic[None], y)

    def divide(self, scatter, count, d):
        return linalg.symmetrize(scatter) / jnp.sum(count)

    def variances(self, covariance, d):
        return super().variances(covariance[None], d)

    def identity(self, k, variances):
        return jnp.diag(variances)

    def prior_count(self, dof, d, k):
        return (dof + d + 1) / k + 1

    def prior_normalizer(self, dof, scale, d, k):
        return super().prior_normalizer(dof, scale, d, 1)

    def posterior_dof(self, dof, counts, d):
        return dof + jnp.sum(counts)

    def coloured_noise(self, covariance, labels, noise):
        return linalg.matmul(noise, linalg.transpose(self.factor(covariance)))
