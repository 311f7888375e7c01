from abc import abstractmethod

import jax.numpy as jnp
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
