"""Structures with matrices: full, tied, and of equal shape."""

from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jax.scipy.special import multigammaln
from jaxtyping import Array, Float, PyTree

from jaxem import _bijections as bijections
from jaxem.families.covariance import _wishart
from jaxem.families.covariance._structure import AbstractCovariance, least_variance
from jaxem.kernels import linalg
from jaxem.kernels.branch import refine_if
from jaxem.kernels.equal_shape import equal_shape
from jaxem.kernels.quadratic import whitened, whitened_forms


class AbstractMatrices(AbstractCovariance):
    """What structures with a matrix for each member share: factors are Cholesky factors, priors inverse Wishart."""

    def square(self, x):
        return linalg.products(x)

    def design(self, rows):
        x = rows.T
        # The products of `(1, x)` with itself, in this very order: one gather, and half the time of a concatenation.
        return linalg.products(jnp.concatenate([jnp.ones_like(x[:1]), x], 0))

    def pack(self, quadratic):
        return linalg.pack_symmetric(quadratic)

    def form(self, quadratic, linear, y):
        return whitened_forms(quadratic, linear, y)

    def factor(self, covariance):
        return linalg.cholesky(covariance)

    def half_log_det(self, factor, d):
        return linalg.half_log_det(factor)

    def whiten(self, factor, y):
        return linalg.matmul(linalg.inverse_lower(factor), y)

    def inverse(self, factor):
        return linalg.inverse_lower(factor)

    def whitened(self, inverse, location, x):
        return whitened(inverse, location, x)

    def colour(self, factor, y):
        return linalg.einsum("...ij,...j->...i", factor, y)

    def congruence(self, factor, quadratic):
        return linalg.matmul(linalg.matmul(factor, quadratic), linalg.transpose(factor))

    def uncolour(self, factor, quadratic):
        half = linalg.solve_lower(factor, quadratic)
        return linalg.solve_lower(factor, linalg.transpose(half))

    def precision(self, factor, about):
        root = linalg.inverse_lower(factor) if about is None else _quotient(factor, about)
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
        def by_eigenvalue(covariance, low):
            values, vectors = linalg.eigh_where(low, covariance)
            values = jnp.maximum(values, least_variance(values[..., -1:], floor))
            return linalg.matmul(vectors * values[..., None, :], linalg.transpose(vectors))

        low = self.at_floor(covariance, floor)
        clipped = refine_if(jnp.any(low), by_eigenvalue, covariance, covariance, low)
        # One by one: a refined result has no derivative.
        return jnp.where(low[..., None, None], clipped, covariance)

    def at_floor(self, covariance, floor):
        variances = jnp.diagonal(covariance, axis1=-2, axis2=-1)
        largest = jnp.max(variances, -1)
        # What is clipped lies at the floor but for rounding; twice that is told apart from it.
        shift = linalg.diagonal_matrix(jnp.broadcast_to(2 * least_variance(largest, floor)[..., None], variances.shape))
        return jnp.any(jnp.isnan(linalg.cholesky(covariance - shift)), (-2, -1))

    def variances(self, covariance, d):
        return jnp.diagonal(covariance, axis1=-2, axis2=-1)

    def identity(self, k, variances):
        return jnp.broadcast_to(jnp.diag(variances), (k, variances.shape[0], variances.shape[0]))

    def unconstrain(self, covariance) -> PyTree:
        return bijections.definite_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_definite(free)

    def prior_count(self, dof, d, k):
        return dof + d + 2

    def prior_normalizer(self, dof, scale, d, k):
        log_det = 2 * linalg.half_log_det(linalg.cholesky(scale))
        one = dof / 2 * log_det - dof * d / 2 * jnp.log(2.0).astype(log_det.dtype) - multigammaln(dof / 2, d)
        return jnp.sum(jnp.broadcast_to(one, (k,)))

    def posterior_dof(self, dof, counts, d):
        return dof + counts

    def least_dof(self, d):
        return d - 1

    def log_excess(self, dof, d):
        return _wishart.log_excess(dof, d)

    def divergence(self, scale, dof, prior_scale, prior_dof):
        return _wishart.divergence(scale, dof, prior_scale, prior_dof)

    def draw(self, key, scale, dof):
        return _wishart.draw(key, scale, dof)

    def coloured_noise(self, covariance, labels, noise):
        return linalg.einsum("nij,nj->ni", self.factor(covariance)[labels], noise)


def _quotient(factor, about):
    """`factor^-1 about`, whose value is the identity to the last digit where they are the same."""
    found = linalg.solve_lower(factor, about)
    same = jnp.all(factor == about, (-2, -1))[..., None, None]
    eye = jnp.broadcast_to(jnp.eye(found.shape[-1], dtype=found.dtype), found.shape)
    return found + jax.lax.stop_gradient(jnp.where(same, eye - found, 0))


@final
class Full(AbstractMatrices):
    """A covariance matrix for each member, `[k, d, d]`."""


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


class EqualShapeFree(NamedTuple):
    """Log shape but for its last entry, which the others determine; Cayley coordinates of the orientations."""

    log_volume: Float[Array, " k"]
    log_shape: Float[Array, " d-1"]
    orientation: Float[Array, "k q"]


@final
class EqualShape(AbstractMatrices):
    """Matrices that differ in volume and orientation, but not in shape: `[k, d, d]`.

    `volume_k orientation_k shape orientation_k^T` with numbers `volume_k`, orthogonal `orientation_k` and one diagonal
    `shape` of determinant 1 that descends: ellipsoids whose axes have the same ratios. Celeux and Govaert (1995), model
    `[lambda_k D_k A D_k']`; VEV in mclust (Scrucca et al. 2016). `k d(d - 1) / 2 + k + d - 1` free parameters.

    The M-step is exact, see `jaxem.kernels.equal_shape`. One member, or one column, leaves nothing to share.
    """

    isotropic: ClassVar[bool] = True  # other scales of the columns would be another model
    coupled: ClassVar[bool] = True
    conjugate: ClassVar[bool] = False

    def estimate(self, scatter, counts, empty, previous, floor, d):
        if _unshared(previous):
            return super().estimate(scatter, counts, empty, previous, floor, d)
        stand_in = jnp.where(empty[:, None, None], previous, scatter)
        return equal_shape(stand_in, jnp.where(empty, 0, counts), floor)

    def conform(self, covariance):
        if _unshared(covariance):
            return covariance
        return equal_shape(covariance, jnp.ones_like(covariance[:, 0, 0]), 0.0)

    def pool(self, covariance, poor, pooled):
        return self.conform(super().pool(covariance, poor, pooled))

    def unconstrain(self, covariance):
        if _unshared(covariance):
            return super().unconstrain(covariance)
        values, vectors = linalg.eigh(linalg.symmetrize(covariance))
        log = jnp.log(values[:, ::-1])
        volume = jnp.mean(log, 1)
        shape = jnp.mean(log - volume[:, None], 0)
        return EqualShapeFree(volume, shape[:-1], bijections.orthogonal_to_free(vectors[..., ::-1]))

    def constrain(self, free):
        if not isinstance(free, EqualShapeFree):
            return super().constrain(free)
        vectors = bijections.free_to_orthogonal(free.orientation)
        shape = jnp.append(free.log_shape, -jnp.sum(free.log_shape))
        values = jnp.exp(free.log_volume[:, None] + shape[None])
        return linalg.from_eigen(vectors, values)


def _unshared(covariance):
    """Whether there are no two shapes that could differ."""
    k, d, _ = covariance.shape
    return k == 1 or d == 1
