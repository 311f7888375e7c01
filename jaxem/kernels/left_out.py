"""States of a chain given the steps before them, or all other steps: what a step is compared with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.kernels.forward_backward_log import differs, filter_log, logsumexp


def given_past(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> Float[Array, "T k n"]:
    """Probabilities of the states of every step given the steps before it; 0 after the end."""
    return _probabilities(filter_log(initial, transition, local, ended)[1], ended)


def given_others(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> Float[Array, "T k n"]:
    """Probabilities of the states of every step given all other steps; 0 after the end."""
    predicted = filter_log(initial, transition, local, ended)[1]
    each = transition if differs(transition) else None

    def step(later, x):
        local, ended, onward = x
        arriving = local + later
        moves = transition if onward is None else onward
        earlier = logsumexp(jnp.swapaxes(moves, 0, 1) + arriving[:, None])
        top = jnp.max(earlier, 0)
        earlier = earlier - jnp.where(top > -jnp.inf, top, 0)[None]
        earlier = earlier if ended is None else jnp.where(ended[None], 0, earlier)
        return earlier, earlier

    rest = None if ended is None else ended[1:]
    last = jnp.zeros_like(local[-1])
    future = jax.lax.scan(step, last, (local[1:], rest, each), reverse=True)[1]
    return _probabilities(predicted + jnp.concatenate([future, last[None]]), ended)


def _probabilities(logs, ended):
    total = logsumexp(jnp.swapaxes(logs, 0, 1))
    found = total > -jnp.inf
    states = jnp.where(found[:, None], jnp.exp(logs - jnp.where(found, total, 0)[:, None]), 0)
    return states if ended is None else jnp.where(ended[:, None], 0, states)
