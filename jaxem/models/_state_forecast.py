"""What comes out of a state-space model whose parameters are known; covariances that are vectors are diagonal."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.kernels import linalg


class StateMarginals(NamedTuple):
    """Means `[n, T, q]` and covariances `[n, T, q, q]` of the states."""

    mean: Float[Array, "n T q"]
    covariance: Float[Array, "n T q q"]


class Forecast(NamedTuple):
    """Predicted observations, `[n, T, d]` and `[n, T, d, d]`, and the states behind them."""

    mean: Float[Array, "n T d"]
    covariance: Float[Array, "n T d d"]
    states: StateMarginals


def predicted(params: Any, states: StateMarginals) -> Forecast:
    """The observations of states with these distributions."""
    view = params.observation
    mean = linalg.einsum("dq,ntq->ntd", view, states.mean)
    if params.observation_intercept is not None:
        mean = mean + params.observation_intercept[None, None]
    covariance = linalg.symmetrize(linalg.einsum("dq,ntqr,er->ntde", view, states.covariance, view))
    return Forecast(mean, covariance + _matrix(params.observation_covariance)[None, None], states)


def ahead(params: Any, mean: Float[Array, "n q"], covariance: Float[Array, "n q q"], num_steps: int) -> Forecast:
    """The `num_steps` observations after states with these distributions."""
    noise = _matrix(params.transition_covariance)

    def step(carry, _):
        mean, covariance = carry
        mean = linalg.einsum("qr,nr->nq", params.transition, mean)
        if params.transition_intercept is not None:
            mean = mean + params.transition_intercept[None]
        covariance = linalg.einsum("qr,nrs,ts->nqt", params.transition, covariance, params.transition)
        covariance = linalg.symmetrize(covariance) + noise[None]
        return (mean, covariance), (mean, covariance)

    _, (mean, covariance) = jax.lax.scan(step, (mean, covariance), None, num_steps)
    return predicted(params, StateMarginals(jnp.moveaxis(mean, 0, 1), jnp.moveaxis(covariance, 0, 1)))


@eqx.filter_jit
def sample(key: PRNGKeyArray, params: Any, n: int, num_steps: int) -> tuple[Array, Array]:
    """`n` sequences `[n, num_steps, d]` and their states `[n, num_steps, q]`."""
    (d, q), dtype = params.observation.shape, params.observation.dtype
    begin, move, look = jax.random.split(key, 3)

    def coloured(covariance, noise):
        root = jnp.diag(jnp.sqrt(covariance)) if covariance.ndim == 1 else linalg.cholesky(covariance)
        return linalg.einsum("ij,...j->...i", root, noise)

    first = coloured(params.initial_covariance, jax.random.normal(begin, (n, q), dtype))
    noise = jax.random.normal(move, (num_steps - 1, n, q), dtype)
    noise = coloured(params.transition_covariance, noise)
    drift = params.transition_intercept

    def step(state, noise):
        state = linalg.einsum("qr,nr->nq", params.transition, state) + noise
        state = state if drift is None else state + drift[None]
        return state, state

    first = params.initial_mean[None] + first
    _, rest = jax.lax.scan(step, first, noise)
    states = jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, 1)
    error = jax.random.normal(look, (n, num_steps, d), dtype)
    values = linalg.einsum("dq,ntq->ntd", params.observation, states)
    values = values + coloured(params.observation_covariance, error)
    if params.observation_intercept is not None:
        values = values + params.observation_intercept[None, None]
    return values, states


def _matrix(covariance: Array) -> Array:
    return jnp.diag(covariance) if covariance.ndim == 1 else covariance
