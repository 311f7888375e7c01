"""EM for one model, written by hand: the least that there is to compile."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Diagonal(NamedTuple):
    weights: Any  # [k]
    mean: Any  # [k, d]
    variance: Any  # [k, d]


def plain_em(params: Diagonal, x: Any, tol: float, max_steps: int, weights: Any = None) -> tuple[Diagonal, Any, Any]:
    """EM for a diagonal Gaussian mixture as one writes it for an afternoon: parameters, log-likelihood and steps."""
    count = x.shape[0] if weights is None else weights.sum()

    def added(values: Any) -> Any:
        return values.sum() if weights is None else values.reshape(-1) @ weights

    def scored(p: Diagonal) -> Any:
        z = (x[:, None] - p.mean[None]) / jnp.sqrt(p.variance)[None]
        return jnp.log(p.weights)[None] - 0.5 * jnp.sum(z * z + jnp.log(2 * jnp.pi * p.variance)[None], -1)

    def body(carry: Any) -> Any:
        p, old, _, steps = carry
        joint = scored(p)
        total = jax.nn.logsumexp(joint, 1, keepdims=True)
        share = jnp.exp(joint - total)
        share = share if weights is None else share * weights[:, None]
        size = share.sum(0)
        mean = share.T @ x / size[:, None]
        variance = jnp.maximum(share.T @ (x * x) / size[:, None] - mean * mean, 1e-6)
        return Diagonal(size / count, mean, variance), added(total), old, steps + 1

    def unfinished(carry: Any) -> Any:
        _, new, old, steps = carry
        return (steps < max_steps) & ~(new - old <= tol * count)

    low = jnp.asarray(-jnp.inf, x.dtype)
    begun = params, low, jnp.asarray(jnp.nan, x.dtype), jnp.zeros((), jnp.int32)
    params, _, _, steps = jax.lax.while_loop(unfinished, body, begun)
    return params, added(jax.nn.logsumexp(scored(params), 1)), steps
