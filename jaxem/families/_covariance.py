"""Covariance structures of the Gaussian family. Each knows its own shape; the family knows none of them.

Shapes: `d` columns, `k` members. A *factor* is the square root that whitens: a lower Cholesky factor, or standard
deviations. Arrays named `quadratic` have the shape of the covariance.
"""

from abc import abstractmethod
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import gammaln, multigammaln
from jaxtyping import Array

from jaxem import _bijections as bijections
from jaxem.kernels import linalg
from jaxem.kernels.branch import refine_if


class AbstractCovariance(eqx.Module):
    """What the Gaussian family asks of a covariance structure."""

    shared: ClassVar[bool] = False  # one covariance for all members
    isotropic: ClassVar[bool] = False  # columns must be scaled alike

    @abstractmethod
    def square(self, x: Array) -> Array:
        """Second-order statistics `[..., d, n] -> [q, n]`."""

    @abstractmethod
    def pack(self, quadratic: Array) -> Array:
        """Coefficients of `square`; linear. `[k, q]`, or `[q]` if shared."""

    @abstractmethod
    def form(self, quadratic: Array, y: Array) -> Array:
        """The quadratic form at `y [k, d, n]`, shape `[k, n]`; linear in `quadratic`."""

    @abstractmethod
    def factor(self, covariance: Array) -> Array: ...

    @abstractmethod
    def half_log_det(self, factor: Array, d: int) -> Array: ...

    @abstractmethod
    def whiten(self, factor: Array, y: Array) -> Array:
        """`factor^-1 y` for `y [k, d, n]`."""

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

    @abstractmethod
    def rescale(self, covariance: Array, scale: Array) -> Array:
        """The covariance of `x * scale`."""

    @abstractmethod
    def clip(self, covariance: Array, floor: float) -> Array:
        """The maximum-likelihood covariance among those with no eigenvalue below the floor."""

    @abstractmethod
    def at_floor(self, covariance: Array, floor: float) -> Array:
        """Whether the least eigenvalue has reached the floor (within a factor `d`)."""

    @abstractmethod
    def variances(self, covariance: Array, d: int) -> Array:
        """Marginal variances, broadcastable against `[k, d]`."""

    @abstractmethod
    def cancellation(self, covariance: Array, mean: Array) -> Array:
        """How much larger than 1 the terms are whose sum is the squared distance of a typical row to the mean."""

    @abstractmethod
    def identity(self, k: int, variances: Array) -> Array:
        """Covariance of `k` members with these marginal variances `[d]`."""

    @abstractmethod
    def unconstrain(self, covariance: Array) -> Array: ...

    @abstractmethod
    def constrain(self, free: Array) -> Array: ...

    @abstractmethod
    def prior_count(self, dof: Array, d: int, k: int) -> Array:
        """Exponent of `|covariance|^(-1/2)`, for each member, in a normal-inverse-Wishart density."""

    @abstractmethod
    def prior_normalizer(self, dof: Array, scale: Array, d: int, k: int) -> Array:
        """Log of the constant of the inverse-Wishart (inverse-gamma) density, over all members."""

    @abstractmethod
    def coloured_noise(self, covariance: Array, labels: Array, noise: Array) -> Array:
        """`noise [n, d]` coloured by the member of each row."""


def _floor(variances: Array, floor: float) -> Array:
    """The floor, and never less than what the arithmetic can resolve beside the largest variance."""
    return jnp.maximum(floor, 8 * jnp.finfo(variances.dtype).eps * variances)


@final
class Full(AbstractCovariance):
    """A covariance matrix for each member, `[k, d, d]`."""

    def square(self, x):
        return linalg.products(x)

    def pack(self, quadratic):
        return linalg.pack_symmetric(quadratic)

    def form(self, quadratic, y):
        return jnp.sum(y * linalg.matmul(quadratic, y), -2)

    def factor(self, covariance):
        return linalg.cholesky(covariance)

    def half_log_det(self, factor, d):
        return linalg.half_log_det(factor)

    def whiten(self, factor, y):
        return linalg.matmul(linalg.inverse_lower(factor), y)

    def colour(self, factor, y):
        return linalg.einsum("...ij,...j->...i", factor, y)

    def congruence(self, factor, quadratic):
        return linalg.matmul(linalg.matmul(factor, quadratic), linalg.transpose(factor))

    def uncolour(self, factor, quadratic):
        half = linalg.solve_lower(factor, quadratic)
        return linalg.solve_lower(factor, linalg.transpose(half))

    def precision(self, factor, about):
        root = linalg.inverse_lower(factor) if about is None else linalg.solve_lower(factor, about)
        return linalg.matmul(linalg.transpose(root), root)

    def apply(self, quadratic, y):
        return linalg.einsum("...ij,...j->...i", quadratic, y)

    def outer(self, a, b):
        return linalg.symmetrize(linalg.outer(a, b))

    def divide(self, scatter, count, d):
        return linalg.symmetrize(scatter) / count[:, None, None]

    def rescale(self, covariance, scale):
        scale = linalg.outer(scale, scale)
        return covariance * jnp.broadcast_to(scale, covariance.shape)

    def clip(self, covariance, floor):
        def by_eigenvalue(covariance):
            values, vectors = jnp.linalg.eigh(covariance)
            values = jnp.maximum(values, _floor(values[..., -1:], floor))
            return linalg.matmul(vectors * values[..., None, :], linalg.transpose(vectors))

        return refine_if(jnp.any(self.at_floor(covariance, floor)), by_eigenvalue, covariance, covariance)

    def at_floor(self, covariance, floor):
        largest = jnp.max(jnp.diagonal(covariance, axis1=-2, axis2=-1), -1)
        trace = jnp.sum(linalg.inverse_lower(self.factor(covariance)) ** 2, (-2, -1))
        return ~(trace * _floor(largest, floor) < 1)

    def variances(self, covariance, d):
        return jnp.diagonal(covariance, axis1=-2, axis2=-1)

    def cancellation(self, covariance, mean):
        precision = jnp.abs(self.precision(self.factor(covariance), None))
        size = jnp.abs(mean) + jnp.sqrt(self.variances(covariance, mean.shape[-1]))
        return jnp.sum(size * linalg.einsum("...ij,...j->...i", precision, size), -1)

    def identity(self, k, variances):
        return jnp.broadcast_to(jnp.diag(variances), (k, variances.shape[0], variances.shape[0]))

    def unconstrain(self, covariance):
        return bijections.definite_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_definite(free)

    def prior_count(self, dof, d, k):
        return dof + d + 2

    def prior_normalizer(self, dof, scale, d, k):
        log_det = 2 * linalg.half_log_det(linalg.cholesky(scale))
        one = dof / 2 * log_det - dof * d / 2 * jnp.log(2.0).astype(log_det.dtype) - multigammaln(dof / 2, d)
        return jnp.sum(jnp.broadcast_to(one, (k,)))

    def coloured_noise(self, covariance, labels, noise):
        return linalg.einsum("nij,nj->ni", self.factor(covariance)[labels], noise)


@final
class Tied(AbstractCovariance):
    """One covariance matrix for all members, `[d, d]`."""

    shared: ClassVar[bool] = True
    full: Full = Full()

    def square(self, x):
        return linalg.products(x)

    def pack(self, quadratic):
        return linalg.pack_symmetric(quadratic)

    def form(self, quadratic, y):
        return self.full.form(quadratic[None], y)

    def factor(self, covariance):
        return self.full.factor(covariance)

    def half_log_det(self, factor, d):
        return linalg.half_log_det(factor)

    def whiten(self, factor, y):
        return self.full.whiten(factor[None], y)

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

    def cancellation(self, covariance, mean):
        precision = jnp.abs(self.precision(self.factor(covariance), None))
        size = jnp.abs(mean) + jnp.sqrt(self.variances(covariance, mean.shape[-1]))
        return jnp.sum(size * self.apply(precision, size), -1)

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

    def coloured_noise(self, covariance, labels, noise):
        return linalg.matmul(noise, linalg.transpose(self.factor(covariance)))


@final
class Diagonal(AbstractCovariance):
    """Variances for each member and column, `[k, d]`."""

    def square(self, x):
        return x * x

    def pack(self, quadratic):
        return quadratic

    def form(self, quadratic, y):
        return jnp.sum(quadratic[:, :, None] * y * y, -2)

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

    def coloured_noise(self, covariance, labels, noise):
        return noise * jnp.sqrt(covariance)[labels]


@final
class Spherical(AbstractCovariance):
    """One variance for each member, `[k]`."""

    isotropic: ClassVar[bool] = True

    def square(self, x):
        return jnp.sum(x * x, -2, keepdims=True)

    def pack(self, quadratic):
        return quadratic[:, None]

    def form(self, quadratic, y):
        return quadratic[:, None] * jnp.sum(y * y, -2)

    def factor(self, covariance):
        return jnp.sqrt(covariance)

    def half_log_det(self, factor, d):
        return d * jnp.log(factor)

    def whiten(self, factor, y):
        return y / factor[:, None, None]

    def colour(self, factor, y):
        return factor[:, None] * y

    def congruence(self, factor, quadratic):
        return quadratic * factor**2

    def uncolour(self, factor, quadratic):
        return quadratic / factor**2

    def precision(self, factor, about):
        return (1 / factor if about is None else about / factor) ** 2

    def apply(self, quadratic, y):
        return quadratic[:, None] * y

    def outer(self, a, b):
        return jnp.sum(a * b, -1)

    def divide(self, scatter, count, d):
        return scatter / (d * count)

    def rescale(self, covariance, scale):
        return covariance * scale[0] ** 2

    def clip(self, covariance, floor):
        return jnp.maximum(covariance, floor)

    def at_floor(self, covariance, floor):
        return covariance <= floor

    def variances(self, covariance, d):
        return covariance[:, None]

    def cancellation(self, covariance, mean):
        return jnp.sum(mean**2 / covariance[:, None] + 1, -1)

    def identity(self, k, variances):
        return jnp.broadcast_to(jnp.mean(variances), (k,))

    def unconstrain(self, covariance):
        return bijections.positive_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_positive(free)

    def prior_count(self, dof, d, k):
        return (dof + 2) / d + 1

    def prior_normalizer(self, dof, scale, d, k):
        one = dof / 2 * jnp.log(scale / 2) - gammaln(dof / 2)
        return jnp.sum(jnp.broadcast_to(one, (k,)))

    def coloured_noise(self, covariance, labels, noise):
        return noise * jnp.sqrt(covariance)[labels][:, None]


STRUCTURES: dict[str, Any] = {"full": Full, "diagonal": Diagonal, "spherical": Spherical, "tied": Tied}
