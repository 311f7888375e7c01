"""Covariance structures of the Gaussian family. Each knows its own shape; the family knows none of them.

Shapes: `d` columns, `k` members. A *factor* is the square root that whitens: a lower Cholesky factor, or standard
deviations. Arrays named `quadratic` have the shape of the covariance.
"""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem.kernels.linalg import trailing


class AbstractCovariance(eqx.Module):
    """What the Gaussian family asks of a covariance structure."""

    shared: ClassVar[bool] = False  # one covariance for all members
    isotropic: ClassVar[bool] = False  # columns must be scaled alike
    coupled: ClassVar[bool] = False  # members have covariances of their own, but not one without the others
    conjugate: ClassVar[bool] = True  # posteriors under an inverse-Wishart prior are of the same kind

    @abstractmethod
    def square(self, x: Array) -> Array:
        """Second-order statistics `[..., d, n] -> [q, n]`."""

    def design(self, rows: Array) -> Array:
        """The constant, the columns of `rows [n, d]`, and their second-order statistics, `[1 + d + q, n]`."""
        x = rows.T
        return jnp.concatenate([jnp.ones_like(x[:1]), x, self.square(x)], 0)

    @abstractmethod
    def pack(self, quadratic: Array) -> Array:
        """Coefficients of `square`; linear. `[k, q]`, or `[q]` if shared."""

    @abstractmethod
    def form(self, quadratic: Array, linear: Array, y: Array) -> Array:
        """`y^T quadratic y + linear^T y` at `y [k, d, n]`, shape `[k, n]`; linear in the coefficients."""

    @abstractmethod
    def factor(self, covariance: Array) -> Array: ...

    @abstractmethod
    def half_log_det(self, factor: Array, d: int) -> Array: ...

    @abstractmethod
    def whiten(self, factor: Array, y: Array) -> Array:
        """`factor^-1 y` for `y [k, d, n]`."""

    @abstractmethod
    def inverse(self, factor: Array) -> Array:
        """What `whitened` takes, once for all rows: the inverse of matrices, and deviations as they are."""

    @abstractmethod
    def whitened(self, inverse: Array, location: Array, x: Array) -> Array:
        """`factor^-1 (x - location)` for rows `x [d, n]` about `location [k, d]`, `[k, d, n]`."""

    @abstractmethod
    def colour(self, factor: Array, y: Array) -> Array:
        """`factor y` for `y [k, d]`."""

    @abstractmethod
    def congruence(self, factor: Array, quadratic: Array) -> Array:
        """`factor quadratic factor^T`."""

    @abstractmethod
    def uncolour(self, factor: Array, quadratic: Array) -> Array:
        """The inverse of `congruence`."""

    @abstractmethod
    def precision(self, factor: Array, about: Array | None) -> Array:
        """Inverse covariance, in the coordinates that the factor `about` whitens."""

    @abstractmethod
    def apply(self, quadratic: Array, y: Array) -> Array:
        """`quadratic y` for `y [k, d]`."""

    @abstractmethod
    def outer(self, a: Array, b: Array) -> Array:
        """The symmetric part of `a b^T` for `[k, d]`, reduced to this structure but not summed over members."""

    @abstractmethod
    def divide(self, scatter: Array, count: Array, d: int) -> Array:
        """Covariance from the scatter about the mean and the effective number of observations of each member."""

    def estimate(self, scatter: Array, counts: Array, empty: Array, previous: Array, floor: float, d: int) -> Array:
        """The M-step: maximum-likelihood covariances none of whose eigenvalues is below the floor.

        From `scatter` about the means; members that are `empty` keep the `previous` one, and so does a shared one if
        all are.
        """
        if self.shared:
            alone = jnp.all(empty)
            found = self.divide(scatter, jnp.where(alone, 1, counts), d)
            return self.clip(jnp.where(alone, previous, found), floor)
        found = self.divide(scatter, jnp.where(empty, 1, counts), d)
        return self.clip(jnp.where(trailing(empty, found), previous, found), floor)

    def conform(self, covariance: Array) -> Array:
        """Covariances of this structure near any of this shape."""
        return covariance

    def pool(self, covariance: Array, poor: Array, pooled: Array) -> Array:
        """With `pooled` in the place of those that are `poor`."""
        return jnp.where(poor if self.shared else trailing(poor, covariance), pooled, covariance)

    @abstractmethod
    def rescale(self, covariance: Array, scale: Array) -> Array:
        """The covariance of `x * scale`."""

    @abstractmethod
    def clip(self, covariance: Array, floor: float) -> Array:
        """The maximum-likelihood covariance among those with no eigenvalue below the floor."""

    @abstractmethod
    def at_floor(self, covariance: Array, floor: float) -> Array:
        """Whether the least eigenvalue has reached the floor (within a factor of two)."""

    @abstractmethod
    def variances(self, covariance: Array, d: int) -> Array:
        """Marginal variances, broadcastable against `[k, d]`."""

    def cancellation(self, precision: Array, covariance: Array, mean: Array, in_products: bool = False) -> Array:
        """How much larger than 1 the terms are whose sum is the squared distance of a typical row to the mean.

        Where the rows are multiplied by the matrix and then by themselves, `in_products`, the errors of a row's columns
        are of either sign, as far as its place about the mean goes, and add up as their squares do (Higham and Mary,
        2020). In sums over rows those count that do not cancel, which are the covariances. What was measured is less
        than three times the former and six times the latter; it depends on how many products a CPU adds up in a row
        (with AVX-512 1.5 and 1.5 times, with AVX2 2.5 and 5.4).
        """
        far, precision = jnp.abs(mean), jnp.abs(precision)
        size = far + jnp.sqrt(self.variances(covariance, mean.shape[-1]))
        each = size * self.apply(precision, size)
        if not in_products:
            return jnp.sum(each, -1)
        summed = jnp.sum(jnp.abs(precision * covariance), -1)
        of_rows, of_sums = (jnp.sqrt(jnp.sum(terms**2, -1)) for terms in (each, summed))
        return jnp.sum(far * self.apply(precision, far), -1) + jnp.maximum(3 * of_rows, 6 * of_sums)

    @abstractmethod
    def identity(self, k: int, variances: Array) -> Array:
        """Covariance of `k` members with these marginal variances `[d]`."""

    @abstractmethod
    def unconstrain(self, covariance: Array) -> PyTree: ...

    @abstractmethod
    def constrain(self, free: PyTree) -> Array: ...

    @abstractmethod
    def prior_count(self, dof: Array, d: int, k: int) -> Array:
        """Exponent of `|covariance|^(-1/2)`, for each member, in a normal-inverse-Wishart density."""

    @abstractmethod
    def prior_normalizer(self, dof: Array, scale: Array, d: int, k: int) -> Array:
        """Log of the constant of the inverse-Wishart (inverse-gamma) density, over all members."""

    # Under an inverse-Wishart (inverse-gamma) distribution of the covariance

    @abstractmethod
    def posterior_dof(self, dof: Array, counts: Array, d: int) -> Array:
        """Degrees of freedom after so many observations of each member."""

    @abstractmethod
    def least_dof(self, d: int) -> int:
        """What the degrees of freedom must exceed."""

    @abstractmethod
    def log_excess(self, dof: Array, d: int) -> Array:
        """`E log |precision| - log |E precision|`."""

    @abstractmethod
    def divergence(self, scale: Array, dof: Array, prior_scale: Array, prior_dof: Array) -> Array:
        """Kullback-Leibler divergence from the prior, over all members."""

    @abstractmethod
    def draw(self, key: PRNGKeyArray, scale: Array, dof: Array) -> tuple[Array, Array]:
        """One draw of the covariance, and a square root for `colour`."""

    @abstractmethod
    def coloured_noise(self, covariance: Array, labels: Array, noise: Array) -> Array:
        """`noise [n, d]` coloured by the member of each row."""


def least_variance(variances: Array, floor: float) -> Array:
    """The floor, and never less than what the arithmetic can resolve beside the largest variance."""
    return jnp.maximum(floor, 8 * jnp.finfo(variances.dtype).eps * variances)
