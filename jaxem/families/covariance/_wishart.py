"""Wishart and gamma distributions of precisions, as an inverse-Wishart prior of the covariance implies.

`scale` and `dof` are those of the inverse-Wishart; a precision has mean `dof * scale^-1`. The scalar ones are gammas of
shape `dof / 2` and rate `scale / 2`.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxem.kernels import linalg
from jaxem.kernels.special import digamma_excess, gamma_divergence, ratio_divergence


def log_excess(dof: Array, d: int) -> Array:
    """`E log |precision| - log |E precision|` for matrices of `d` columns (Bishop 2006, B.81)."""
    steps, dof = jnp.arange(d, dtype=dof.dtype), dof[..., None]
    steps = jnp.broadcast_to(steps, (*dof.shape[:-1], d))
    return jnp.sum(digamma_excess((dof - steps) / 2) + jnp.log1p(-steps / dof), -1)


def divergence(scale: Array, dof: Array, prior_scale: Array, prior_dof: Array) -> Array:
    """Kullback-Leibler divergence from the prior, summed over members.

    That of a Gaussian with the mean covariances, `prior_dof` times, and a function of the degrees of freedom: no terms
    of the size of the counts are left to cancel.
    """
    d = scale.shape[-1]
    root = linalg.cholesky(scale / dof[..., None, None])
    prior_root = linalg.cholesky(prior_scale / prior_dof[..., None, None])
    ratio = linalg.solve_lower(root, prior_root)
    trace = jnp.sum(ratio**2, (-2, -1))
    shapes = trace - d - 2 * (linalg.half_log_det(prior_root) - linalg.half_log_det(root))
    dof, prior_dof = dof[..., None], prior_dof[..., None]
    steps = jnp.broadcast_to(jnp.arange(d, dtype=dof.dtype), (*dof.shape[:-1], d))
    a, b = (dof - steps) / 2, (prior_dof - steps) / 2
    sizes = prior_dof / 2 * (jnp.log1p(-steps / prior_dof) - jnp.log1p(-steps / dof)) - steps / 2 * jnp.log(b / a)
    return jnp.sum(prior_dof[..., 0] / 2 * shapes) + jnp.sum(gamma_divergence(a, b) + sizes)


def draw(key: PRNGKeyArray, scale: Array, dof: Array) -> tuple[Array, Array]:
    """One covariance for each member, and a square root of it (Bartlett 1933)."""
    d = scale.shape[-1]
    diagonal, below = jax.random.split(key)
    dof = dof[..., None] - jnp.broadcast_to(jnp.arange(d, dtype=scale.dtype), (*dof.shape, d))
    chi = math.sqrt(2) * jnp.exp(jax.random.loggamma(diagonal, dof / 2, dof.shape, dof.dtype) / 2)
    normal = jnp.tril(jax.random.normal(below, scale.shape, scale.dtype), -1)
    bartlett = normal + chi[..., None] * jnp.broadcast_to(jnp.eye(d, dtype=scale.dtype), scale.shape)
    root = linalg.matmul(linalg.cholesky(scale), linalg.transpose(linalg.inverse_lower(bartlett)))
    return linalg.matmul(root, linalg.transpose(root)), root


def scalar_divergence(scale: Array, dof: Array, prior_scale: Array, prior_dof: Array) -> Array:
    """`divergence` of variances; `dof` broadcasts over trailing axes of `scale`."""
    a, b = (jnp.broadcast_to(linalg.trailing(v, scale), scale.shape) / 2 for v in (dof, prior_dof))
    return jnp.sum(gamma_divergence(a, b) + b * ratio_divergence((prior_scale / b) / (scale / a)))


def scalar_draw(key: PRNGKeyArray, scale: Array, dof: Array) -> tuple[Array, Array]:
    """One variance for each entry of `scale`, and its square root."""
    a = jnp.broadcast_to(linalg.trailing(dof, scale), scale.shape) / 2
    log = jnp.log(scale / 2) - jax.random.loggamma(key, a, a.shape, a.dtype)
    return jnp.exp(log), jnp.exp(log / 2)
