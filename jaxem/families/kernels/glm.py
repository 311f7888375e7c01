"""The kernel of generalised linear models: covariates of unit second moments."""

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families._design import Frame
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.families.responses import Responses
from jaxem.kernels.linalg import cholesky, einsum, inverse_lower, matmul


class GLMParams(NamedTuple):
    """Coefficients `[k, p]` of the covariates in the linear predictors."""

    coefficients: Float[Array, "k p"]


class CommonFree(NamedTuple):
    """Coefficients of which each member has its own `[k, p - q]`, and those that all have in common `[1, q]`."""

    own: Float[Array, "k r"]
    common: Float[Array, "1 q"]


@final
class GLMKernel(AbstractKernel):
    """Responses that depend on a linear predictor, of covariates in the coordinates of `frame`."""

    family: Any
    frame: Frame | None = None

    # The map

    def natural(self, params: GLMParams) -> GLMParams:
        return params

    def potentials(self, natural: GLMParams, x: Responses) -> Float[Array, "k n"]:
        predictor = self.predictor(natural.coefficients, x.x)
        value = self.family.log_density(predictor, x.y[None], sizes(x)[None])
        return jnp.sum(value, tuple(range(2, value.ndim)))

    def predictor(self, coefficients: Array, x: Array) -> Array:
        """Linear predictors `[k, n, ...]` of covariates `[n, ..., p]`."""
        flat = x.reshape(-1, x.shape[-1])
        flat = flat if self.frame is None else self.frame.covariates(flat)
        return matmul(coefficients, flat.T).reshape(coefficients.shape[0], *x.shape[:-1])

    # Coordinates

    def log_prior(self, params: GLMParams) -> Array:
        b = params.coefficients
        if self.family.prior_deviation is None:
            return jnp.zeros((), b.dtype)
        b = b if self.frame is None else self.frame.decode(b)
        deviation = np.broadcast_to(np.asarray(self.family.prior_deviation, float), (b.shape[1],))
        once = np.isin(np.arange(b.shape[1]), self.family.common)[None] & (np.arange(b.shape[0]) > 0)[:, None]
        used = np.isfinite(deviation)[None] & ~once
        inside = jnp.asarray(np.where(np.isfinite(deviation), deviation, 1)[None], b.dtype)
        terms = -((b / inside) ** 2) / 2 - jnp.log(inside) - np.log(2 * np.pi) / 2
        return jnp.sum(jnp.where(used, terms, 0))

    def encode(self, params):
        return params if self.frame is None else GLMParams(self.frame.encode(params.coefficients))

    def decode(self, params):
        return params if self.frame is None else GLMParams(self.frame.decode(params.coefficients))

    def degenerate(self, params):
        """Whether coefficients run off to infinity, as they do where covariates separate the responses."""
        frame = self.frame
        if frame is None or self.family.prior_deviation is not None:
            return jnp.zeros((), bool)
        predictor = matmul(params.coefficients, frame.sample.T)
        return frame.undetermined(self.family.mean_and_slope(predictor, frame.amount[None])[1])

    def blocks(self, free):
        if not self.family.common:
            return super().blocks(free)
        own, common = free.coefficients
        shape = own.shape

        def undo(arrays):
            flat = arrays[0]
            return GLMParams(CommonFree(flat[:, : own.size].reshape(shape), flat[:, own.size :]))  # pyright: ignore[reportArgumentType]

        return [jnp.concatenate([own.reshape(1, -1), common], 1)], undo

    # Starts

    def from_points(self, points: Any, x: Any, weights):
        k = points.y.shape[0]
        zero = GLMParams(jnp.zeros((1, x.x.shape[-1]), x.x.dtype))
        pooled = self.refine(zero, x, weights[None]).coefficients
        # The least change of the coefficients that takes most of the way to the point.
        rough = self.family.rough_predictor(points.y, sizes(points)) - self.predictor(pooled, points.x)[0]
        z = points.x if self.frame is None else self.frame.covariates(points.x)
        z, rough = z.reshape(k, -1, z.shape[-1]), rough.reshape(k, -1)
        change = jnp.sum(z * rough[..., None], 1) / (z.shape[1] + jnp.sum(z**2, (1, 2)))[:, None]
        return self.family.constrain(self.family.unconstrain(GLMParams(pooled + change)))

    def refine(self, params, x, weights):
        p = x.x.shape[-1]
        z = x.x.reshape(-1, p)
        z = z if self.frame is None else self.frame.covariates(z)
        y, size = x.y.reshape(1, -1), sizes(x).reshape(1, -1)
        each = jnp.repeat(weights, z.shape[0] // weights.shape[1], axis=1)
        start = params.coefficients
        rough = self.family.rough_predictor(y, size)
        slope = self.family.mean_and_slope(rough, size)[1]
        # As much as one row says, so that members with few rows stay near where they were.
        total = jnp.sum(each, 0, keepdims=True)
        least = jnp.sum(total * slope) / jnp.maximum(jnp.sum(total > 0), 1).astype(z.dtype)
        least = jnp.where(least > 0, least, 1)  # without any row all stay where they are

        def fitted(weight, working):
            gram = einsum("kn,ni,nj->kij", weight, z, z) + least * jnp.eye(p, dtype=z.dtype)[None]
            root = inverse_lower(cholesky(gram))
            return einsum("kji,kjl,kl->ki", root, root, matmul(weight * working, z) + least * start)

        def again(_, b):
            predictor = matmul(b, z.T)
            mean, slope = self.family.mean_and_slope(predictor, size)
            slope = slope + 1e-6 * least
            change = fitted(each * slope, predictor + (y - mean) / slope) - b
            largest = jnp.max(jnp.where(each > 0, jnp.abs(matmul(change, z.T)), 0), 1, keepdims=True)
            return b + change * jnp.minimum(1, 2 / jnp.maximum(largest, 1))

        first = fitted(each * slope, jnp.broadcast_to(rough, each.shape))
        found = GLMParams(jax.lax.fori_loop(0, 4, again, first))
        return self.family.constrain(self.family.unconstrain(found))

    def embed(self, x: Any, weights=None):
        z = x.x if self.frame is None else self.frame.covariates(x.x)
        rough = self.family.rough_predictor(x.y, sizes(x))
        axes = tuple(range(1, rough.ndim))
        return jnp.concatenate([jnp.mean(z, axes), jnp.mean(rough, axes)[:, None]], 1)

    def floats_per_row(self, params):
        k, p = params.coefficients.shape
        return 2 * p, 4 * k


def sizes(rows: Any) -> Array:
    """The `size` of each response, 1 where it is left out."""
    return jnp.ones_like(rows.y) if rows.size is None else rows.size
