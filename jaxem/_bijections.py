"""Smooth maps between constrained parameters and unconstrained coordinates, batched over leading axes."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.kernels.linalg import cholesky, inverse_lower, matmul, transpose

# The logarithm, or log-odds, of what is exactly 0: `exp` of it is 0 in any precision, also after an extrapolation that
# does not move it. It is small enough for lengths of steps, and for the digits of its neighbours.
_GONE = 2.0**14


def simplex_to_free(p: Array) -> Array:
    """Additive log-ratios: `[..., k]` on the simplex to `[..., k - 1]` (Aitchison 1982).

    An entry that is exactly 0 stays so on the way back. Where that is the last one, ratios are those to the largest
    entry, times a number that leaves nothing for it.
    """
    log = log_to_free(p)
    return log_ratio_to_free(log[..., :-1], log[..., -1:], jnp.max(log, -1, keepdims=True))


def log_to_free(p: Array) -> Array:
    """Logarithms of numbers that are not negative; constant to JAX at 0."""
    return jnp.where(p <= 0, -_GONE, jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny)))


def log_ratio_to_free(log: Array, last: Array, largest: Array) -> Array:
    """Of `log_to_free`, coordinates relative to the `last` one; to nothing beside the `largest` if that is 0."""
    beyond = 2.0 * jnp.finfo(log.dtype).maxexp  # e to minus this is 0, with room to spare
    base = jnp.where(last <= -_GONE, largest - beyond, last)
    return jnp.where(log <= -_GONE, -_GONE, log - base)


def free_to_simplex(u: Array) -> Array:
    """The inverse of `simplex_to_free`: `[..., k - 1]` to `[..., k]`, whose sum is 1."""
    zero = jnp.zeros((*u.shape[:-1], 1), u.dtype)
    return jax.nn.softmax(jnp.concatenate([u, zero], -1), -1)


def positive_to_free(x: Array) -> Array:
    """Logarithms of positive numbers of any shape; finite at 0, which stays 0 on the way back."""
    return log_to_free(x)


def free_to_positive(u: Array) -> Array:
    """The inverse of `positive_to_free`."""
    return jnp.exp(u)


def unit_to_free(p: Array) -> Array:
    """Log-odds of probabilities of any shape, each by itself; finite at 0 and 1, which stay so on the way back."""
    return log_to_free(p) - log_to_free(1 - p)


def free_to_unit(u: Array) -> Array:
    """The inverse of `unit_to_free`."""
    return jax.nn.sigmoid(u)


def definite_to_free(a: Array) -> Array:
    """Log-Cholesky coordinates: `[..., d, d]` positive definite to `[..., d(d+1)/2]` (Pinheiro and Bates 1996)."""
    d = a.shape[-1]
    factor = cholesky(a)
    rows, columns = np.tril_indices(d, -1)
    return jnp.concatenate([jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), factor[..., rows, columns]], -1)


def free_to_definite(u: Array) -> Array:
    """The inverse of `definite_to_free`: `[..., d(d+1)/2]` to `[..., d, d]`, symmetric."""
    d = int((np.sqrt(8 * u.shape[-1] + 1) - 1) / 2)
    rows, columns = np.tril_indices(d, -1)
    lower = jnp.zeros((*u.shape[:-1], d, d), u.dtype).at[..., rows, columns].set(u[..., d:])
    eye = jnp.broadcast_to(jnp.eye(d, dtype=u.dtype), lower.shape)
    factor = lower + jnp.exp(u[..., :d])[..., :, None] * eye
    return matmul(factor, transpose(factor))


def orthogonal_to_free(q: Array) -> Array:
    """Cayley coordinates `[..., d(d-1)/2]` of `[..., d, d]` orthogonal, whose columns count up to their signs.

    Some choice of signs has coordinates that are not large (O'Dorney 2014); that made by elimination, with pivots of at
    least 1, will do (Ballard et al. 2015).
    """
    d = q.shape[-1]
    eye = jnp.broadcast_to(jnp.eye(d, dtype=q.dtype), q.shape)
    q = q * jax.lax.stop_gradient(_signs(q))[..., None, :]
    rows, columns = np.tril_indices(d, -1)
    # `(1 - q) (1 + q)^-1`, by the inverse of `(1 + q) (1 + q)^T`.
    inverse = inverse_lower(cholesky(2 * eye + q + transpose(q)))
    skew = matmul(transpose(q) - q, matmul(transpose(inverse), inverse))
    return (skew - transpose(skew))[..., rows, columns] / 2


def free_to_orthogonal(u: Array) -> Array:
    """The inverse of `orthogonal_to_free`, but for the signs of the columns: `[..., d(d-1)/2]` to `[..., d, d]`."""
    d = int((np.sqrt(8 * u.shape[-1] + 1) + 1) / 2)
    rows, columns = np.tril_indices(d, -1)
    lower = jnp.zeros((*u.shape[:-1], d, d), u.dtype).at[..., rows, columns].set(u)
    skew = lower - transpose(lower)
    eye = jnp.broadcast_to(jnp.eye(d, dtype=u.dtype), skew.shape)
    # `(1 - skew) (1 + skew)^-1`, in which the second factor is `(1 - skew) (1 - skew^2)^-1`.
    inverse = inverse_lower(cholesky(eye - matmul(skew, skew)))
    return matmul(matmul(eye - skew, eye - skew), matmul(transpose(inverse), inverse))


def _signs(q: Array) -> Array:
    """Signs of the columns that leave no eigenvalue of `q` near -1."""
    d = q.shape[-1]

    def eliminate(i, carry):
        q, signs = carry
        column, row = q[..., :, i], q[..., i, :]
        pivot = q[..., i, i][..., None]
        sign = jnp.where(pivot < 0, -1, 1).astype(q.dtype)
        below = jnp.where(jnp.broadcast_to(jnp.arange(d) > i, column.shape), column, 0) * sign / (1 + jnp.abs(pivot))
        return q - below[..., :, None] * row[..., None, :], signs.at[..., i].set(sign[..., 0])

    return jax.lax.fori_loop(0, d, eliminate, (q, jnp.ones_like(q[..., 0])))[1]


NAMED = {
    "real": (lambda x: x, lambda u: u),
    "positive": (positive_to_free, free_to_positive),
    "nonnegative": (positive_to_free, free_to_positive),
    "unit": (unit_to_free, free_to_unit),
    "simplex": (simplex_to_free, free_to_simplex),
    "definite": (definite_to_free, free_to_definite),
}
