from typing import final

import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxem.families.covariance._variances import AbstractVariances
from jaxem.kernels import linalg


@final
class Diagonal(AbstractVariances):
    """Variances for each member and column, `[k, d]`."""

    def square_rows(self, rows):
        return rows * rows

    def pack(self, quadratic):
        return quadratic

    def form(self, quadratic, linear, y):
        return linalg.sum_features(y * (quadratic[:, :, None] * y + linear[:, :, None]))

    def half_log_det(self, factor, d):
        return jnp.sum(jnp.log(factor), -1)

    def whiten(self, factor, y):
        return y / factor[:, :, None]

    def colour(self, factor, y):
        return factor * y

    def apply(self, quadratic, y):
        return quadratic * y

    def outer(self, a, b):
        return a * b

    def divide(self, scatter, count, d):
        return scatter / count[:, None]

    def rescale(self, covariance, scale):
        return covariance * jnp.broadcast_to(scale**2, covariance.shape)

    def at_floor(self, covariance, floor):
        return jnp.any(covariance <= floor, -1)

    def variances(self, covariance, d):
        return covariance

    def identity(self, k, variances):
        return jnp.broadcast_to(variances, (k, variances.shape[0]))

    def prior_count(self, dof, d, k):
        return dof + 3

    def prior_normalizer(self, dof, scale, d, k):
        one = dof / 2 * jnp.log(scale / 2) - gammaln(dof / 2)
        return jnp.sum(jnp.broadcast_to(one, (k, d)))

    def posterior_dof(self, dof, counts, d):
        return dof + counts

    def coloured_noise(self, covariance, labels, noise):
        return noise * jnp.sqrt(covariance)[labels]
