"""Smooth maps between constrained parameters and unconstrained coordinates, batched over leading axes."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.kernels.linalg import cholesky, matmul, transpose


def simplex_to_free(p: Array) -> Array:
    """Additive log-ratios: `[..., k]` on the simplex to `[..., k - 1]` (Aitchison 1982)."""
    log = jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))
    return log[..., :-1] - log[..., -1:]


def free_to_simplex(u: Array) -> Array:
    """The inverse of `simplex_to_free`: `[..., k - 1]` to `[..., k]`, whose sum is 1."""
    zero = jnp.zeros((*u.shape[:-1], 1), u.dtype)
    return jax.nn.softmax(jnp.concatenate([u, zero], -1), -1)


def positive_to_free(x: Array) -> Array:
    """Logarithms of positive numbers of any shape; finite at 0."""
    return jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))


def free_to_positive(u: Array) -> Array:
    """The inverse of `positive_to_free`."""
    return jnp.exp(u)


def unit_to_free(p: Array) -> Array:
    """Log-odds of probabilities of any shape, each by itself; finite at 0 and 1."""
    tiny = jnp.finfo(p.dtype).tiny
    return jnp.log(jnp.maximum(p, tiny)) - jnp.log(jnp.maximum(1 - p, tiny))


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


NAMED = {
    "real": (lambda x: x, lambda u: u),
    "positive": (positive_to_free, free_to_positive),
    "unit": (unit_to_free, free_to_unit),
    "simplex": (simplex_to_free, free_to_simplex),
    "definite": (definite_to_free, free_to_definite),
}
