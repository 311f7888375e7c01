"""EM for one model, written by hand: the least that there is to compile."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Diagonal(NamedTuple):
    weights: Any  # [k]
    mean: Any  # [k, d]
    variance: Any  # [k, d]


def plain_em(params: Diagonal, x: Any, tol: float, max_steps: int) -> tuple[Diagonal, Any, Any]:
    """EM for a diagonal Gaussian mixture as one writes it for an afternoon: parameters, log-likelihood and steps."""

    def scored(p: Diagonal) -> Any:
        z = (x[:, None] - p.mean[None]) / jnp.sqrt(p.variance)[None]
        return jnp.log(p.weights)[None] - 0.5 * jnp.sum(z * z + jnp.log(2 * jnp.pi * p.variance)[None], -1)

    def body(carry: Any) -> Any:
        p, old, _, steps = carry
        joint = scored(p)
        total = jax.nn.logsumexp(joint, 1, keepdims=True)
        share = jnp.exp(joint - total)
        size = share.sum(0)
        mean = share.T @ x / size[:, None]
        variance = jnp.maximum(share.T @ (x * x) / size[:, None] - mean * mean, 1e-6)
        return Diagonal(size / x.shape[0], mean, variance), total.sum(), old, steps + 1

    def unfinished(carry: Any) -> Any:
        _, new, old, steps = carry
        return (steps < max_steps) & ~(new - old <= tol * x.shape[0])

    low = jnp.asarray(-jnp.inf, x.dtype)
    begun = params, low, jnp.asarray(jnp.nan, x.dtype), jnp.zeros((), jnp.int32)
    params, _, _, steps = jax.lax.while_loop(unfinished, body, begun)
    return params, jax.nn.logsumexp(scored(params), 1).sum(), steps
