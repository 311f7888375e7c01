"""Structures with variances alone: diagonal and spherical."""

from abc import abstractmethod
from typing import ClassVar, final

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array

from jaxem import _bijections as bijections
from jaxem.families.covariance import _wishart
from jaxem.families.covariance._structure import AbstractCovariance
from jaxem.kernels import linalg
from jaxem.kernels.special import digamma_excess


class AbstractVariances(AbstractCovariance):
    """What structures without correlations share: factors are standard deviations, priors inverse gammas."""

    @abstractmethod
    def square_rows(self, rows: Array) -> Array:
        """`square` with the columns last, `[n, d] -> [n, q]`."""

    def square(self, x):
        return linalg.transpose(self.square_rows(linalg.transpose(x)))

    def design(self, rows):
        # Rows first: to turn wide ones into features takes longer than to multiply by them.
        return jnp.concatenate([jnp.ones((rows.shape[0], 1), rows.dtype), rows, self.square_rows(rows)], 1).T

    def factor(self, covariance):
        return jnp.sqrt(covariance)

    def inverse(self, factor):
        return factor

    def whitened(self, inverse, location, x):
        return self.whiten(inverse, x[None] - location[:, :, None])

    def congruence(self, factor, quadratic):
        return quadratic * factor**2

    def uncolour(self, factor, quadratic):
        return quadratic / factor**2

    def precision(self, factor, about):
        return (1 / factor if about is None else about / factor) ** 2

    def cancellation(self, precision, covariance, mean, in_products=False):
        return jnp.sum(self.apply(precision, mean**2) + 1, -1)

    def clip(self, covariance, floor):
        return jnp.maximum(covariance, floor)

    def unconstrain(self, covariance):
        return bijections.positive_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_positive(free)

    def least_dof(self, d):
        return 0

    def log_excess(self, dof, d):
        return d * digamma_excess(dof / 2)

    def divergence(self, scale, dof, prior_scale, prior_dof):
        return _wishart.scalar_divergence(scale, dof, prior_scale, prior_dof)

    def draw(self, key, scale, dof):
        return _wishart.scalar_draw(key, scale, dof)


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
