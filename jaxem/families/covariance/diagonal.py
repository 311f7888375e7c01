from typing import final

import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxem import _bijections as bijections
from jaxem.families.covariance import _wishart
from jaxem.families.covariance._structure import AbstractCovariance
from jaxem.kernels import linalg
from jaxem.kernels.special import digamma_excess


@final
class Diagonal(AbstractCovariance):
    """Variances for each member and column, `[k, d]`."""

    def square(self, x):
        return x * x

    def pack(self, quadratic):
        return quadratic

    def form(self, quadratic, linear, y):
        return linalg.sum_features(y * (quadratic[:, :, None] * y + linear[:, :, None]))

    def factor(self, covariance):
        return jnp.sqrt(covariance)

    def half_log_det(self, factor, d):
        return jnp.sum(jnp.log(factor), -1)

    def whiten(self, factor, y):
        return y / factor[:, :, None]

    def colour(self, factor, y):
        return factor * y

    def congruence(self, factor, quadratic):
        return quadratic * factor**2

    def uncolour(self, factor, quadratic):
        return quadratic / factor**2

    def precision(self, factor, about):
        return (1 / factor if about is None else about / factor) ** 2

    def apply(self, quadratic, y):
        return quadratic * y

    def outer(self, a, b):
        return a * b

    def divide(self, scatter, count, d):
        return scatter / count[:, None]

    def rescale(self, covariance, scale):
        return covariance * jnp.broadcast_to(scale**2, covariance.shape)

    def clip(self, covariance, floor):
        return jnp.maximum(covariance, floor)

    def at_floor(self, covariance, floor):
        return jnp.any(covariance <= floor, -1)

    def variances(self, covariance, d):
        return covariance

    def cancellation(self, covariance, mean):
        return jnp.sum(mean**2 / covariance + 1, -1)

    def identity(self, k, variances):
        return jnp.broadcast_to(variances, (k, variances.shape[0]))

    def unconstrain(self, covariance):
        return bijections.positive_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_positive(free)

    def prior_count(self, dof, d, k):
        return dof + 3

    def prior_normalizer(self, dof, scale, d, k):
        one = dof / 2 * jnp.log(scale / 2) - gammaln(dof / 2)
        return jnp.sum(jnp.broadcast_to(one, (k, d)))

    def posterior_dof(self, dof, counts, d):
        return dof + counts

    def least_dof(self, d):
        return 0

    def log_excess(self, dof, d):
        return d * digamma_excess(dof / 2)

    def divergence(self, scale, dof, prior_scale, prior_dof):
        return _wishart.scalar_divergence(scale, dof, prior_scale, prior_dof)

    def draw(self, key, scale, dof):
        return _wishart.scalar_draw(key, scale, dof)

    def coloured_noise(self, covariance, labels, noise):
        return noise * jnp.sqrt(covariance)[labels]
