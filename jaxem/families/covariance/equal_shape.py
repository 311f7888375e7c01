from typing import ClassVar, NamedTuple, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem import _bijections as bijections
from jaxem.families.covariance._matrices import AbstractMatrices
from jaxem.kernels import linalg
from jaxem.kernels.equal_shape import equal_shape


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
