from typing import ClassVar, final

import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxem.families.covariance._variances import AbstractVariances
from jaxem.kernels import linalg


@final
class Spherical(AbstractVariances):
    """One variance for each member, `[k]`."""

    isotropic: ClassVar[bool] = True

    def square_rows(self, rows):
        return jnp.sum(rows * rows, -1, keepdims=True)

    def pack(self, quadratic):
        return quadratic[:, None]

    def form(self, quadratic, linear, y):
        return linalg.sum_features(y * (quadratic[:, None, None] * y + linear[:, :, None]))

    def half_log_det(self, factor, d):
        return d * jnp.log(factor)

    def whiten(self, factor, y):
        return y / factor[:, None, None]

    def colour(self, factor, y):
        return factor[:, None] * y

    def apply(self, quadratic, y):
        return quadratic[:, None] * y

    def outer(self, a, b):
        return jnp.sum(a * b, -1)

    def divide(self, scatter, count, d):
        return scatter / (d * count)

    def rescale(self, covariance, scale):
        return covariance * scale[0] ** 2

    def at_floor(self, covariance, floor):
        return covariance <= floor

    def variances(self, covariance, d):
        return covariance[:, None]

    def identity(self, k, variances):
        return jnp.broadcast_to(jnp.mean(variances), (k,))

    def prior_count(self, dof, d, k):
        return (dof + 2) / d + 1

    def prior_normalizer(self, dof, scale, d, k):
        one = dof / 2 * jnp.log(scale / 2) - gammaln(dof / 2)
        return jnp.sum(jnp.broadcast_to(one, (k,)))

    def posterior_dof(self, dof, counts, d):
        return dof + d * counts

    def coloured_noise(self, covariance, labels, noise):
        return noise * jnp.sqrt(covariance)[labels][:, None]
