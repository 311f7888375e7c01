"""A first guess at the states of sequences, and the parameters that know of none."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.kernels import linalg
from jaxem.models._state_params import StateSpaceParams

SPREAD = 0.1  # variance of the states about their first guess


def guess_states(
    key: PRNGKeyArray,
    q: int,
    y: Float[Array, "n T d"],
    observed: Float[Array, "n T d"],
    there: Float[Array, "n T"],
    weights: Float[Array, " n"],
) -> Float[Array, "n T q"]:
    """Leading principal components of the last few steps, mixed at random and with noise.

    `observed` and `there` are 1 for the entries and the steps that exist.
    """
    mix, noise = jax.random.split(key)
    _, steps, d = y.shape
    total = jnp.sum(observed * weights[:, None, None], (0, 1))
    mean = jnp.sum(y * weights[:, None, None], (0, 1)) / jnp.where(total > 0, total, 1)
    filled = jnp.where(observed > 0, y, mean[None, None])
    lags = [jnp.pad(filled, ((0, 0), (lag, 0), (0, 0)), mode="edge")[:, :steps] for lag in range(-(-q // d))]
    recent = jnp.concatenate(lags, -1)
    second = linalg.einsum("ntj,ntk,nt->jk", recent, recent, there * weights[:, None])
    values, vectors = linalg.eigh(second / jnp.sum(there * weights[:, None]))
    values, vectors = values[::-1][:q], vectors[:, ::-1][:, :q]
    values = jnp.maximum(values, 1e-3 * values[:1])
    scores = linalg.einsum("ntj,jq->ntq", recent, vectors / jnp.sqrt(jnp.where(values > 0, values, 1))[None])
    dtype = y.dtype
    mixing = jnp.eye(q, dtype=dtype) + jax.random.normal(mix, (q, q), dtype) / (2 * math.sqrt(q))
    return linalg.einsum("ntq,rq->ntr", scores, mixing) + 0.3 * jax.random.normal(noise, scores.shape, dtype)


def no_relations(model: Any, d: int, dtype: Any) -> StateSpaceParams:
    """Parameters under which states depend on nothing before them, and `d` columns on no state."""
    q = model.state_dim
    flat, eye = jnp.zeros((q, q), dtype), jnp.eye(q, dtype=dtype)
    return StateSpaceParams(
        flat[0],
        eye,
        flat,
        jnp.ones(q, dtype) if model.transition_covariance == "diagonal" else eye,
        jnp.zeros((d, q), dtype),
        jnp.ones(d, dtype),
        flat[0] if model.transition_intercept else None,
        jnp.zeros(d, dtype) if model.observation_intercept else None,
    )
