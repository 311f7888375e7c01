"""Sums over the paths of a Markov chain on logarithms: slower than on scaled probabilities, and nothing is lost.

Arrays are those of `jaxem.kernels.forward_backward`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.kernels.chunks import per_device
from jaxem.kernels.exclusion import or_zero


class Marginals(NamedTuple):
    """Posterior probabilities of the first state `[k, n]`, expected numbers of transitions `[k, k, n]` (or those of
    every step, `[T - 1, k, k, n]`, where the potentials are), posterior probabilities of every state `[T, k, n]`."""

    initial: Float[Array, "k n"]
    transition: Float[Array, "*s k k n"]
    local: Float[Array, "T k n"]


def differs(transition: Float[Array, "*s k k n"]) -> bool:
    """Whether these transition potentials are those of each step."""
    return transition.ndim == 4


def pairwise_sum(x: Float[Array, "T n"]) -> Float[Array, " n"]:
    """Sum over the first axis, with an error that grows with the logarithm of its length."""
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        rest = x[2 * half :]
        x = x[:half] + x[half : 2 * half]
        x = jnp.concatenate([x, rest]) if rest.shape[0] else x
    return x[0]


def filter_log(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> tuple[Float[Array, "T k n"], Float[Array, "T k n"], Float[Array, "T n"]]:
    """Log probabilities of the states of every step given the past with the step, and without it, and the log density
    of the step given the past."""

    def advance(predicted, local):
        new = predicted + local
        scale = logsumexp(new)
        return new - jnp.where(scale > -jnp.inf, scale, 0)[None], scale

    state, scale = advance(initial, local[0])

    each = transition if differs(transition) else None

    def step(state, x):
        local, ended, onward = x
        predicted = logsumexp(state[:, None] + (transition if onward is None else onward))
        new, scale = advance(predicted, local)
        if ended is not None:
            new, scale = jnp.where(ended[None], state, new), jnp.where(ended, 0, scale)
        return new, (new, predicted, scale)

    rest = None if ended is None else ended[1:]
    _, later = jax.lax.scan(step, state, (local[1:], rest, each))
    first = (state, initial, scale)
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)


def forward_backward_log(
    initial: Float[Array, "k n"],
    transition: Float[Array, "*s k k n"],
    local: Float[Array, "T k n"],
    ended: Bool[Array, "T n"] | None = None,
) -> tuple[Marginals, Float[Array, " n"]]:
    """`forward_backward` on logarithms: slower, without a limit to the range of probabilities."""
    filtered, predicted, scale = filter_log(initial, transition, local, ended)
    each = transition if differs(transition) else None

    def step(carry, x):
        smoothed, counts = carry
        filtered, predicted, ended, onward = x
        reached = predicted > -jnp.inf
        ratio = jnp.where(reached, smoothed - jnp.where(reached, predicted, 0), -jnp.inf)
        joint = filtered[:, None] + (transition if onward is None else onward) + ratio[None]
        previous, pairs = logsumexp(jnp.swapaxes(joint, 0, 1)), jnp.exp(joint)
        if ended is not None:
            previous = jnp.where(ended[None], filtered, previous)
            pairs = jnp.where(ended[None, None], 0, pairs)
        if each is not None:
            return (previous, counts), (previous, pairs)
        return (previous, counts + pairs), previous

    rest = None if ended is None else ended[1:]
    last = per_device((filtered[-1], jnp.zeros_like(transition) if each is None else ()), filtered)
    inputs = (filtered[:-1], predicted[1:], rest, each)
    out: Any
    (_, counts), out = jax.lax.scan(step, last, inputs, reverse=True)
    earlier = out
    if each is not None:
        earlier, counts = out
    smoothed = jnp.exp(jnp.concatenate([earlier, filtered[-1:]]))
    value = pairwise_sum(scale)
    found = value > -jnp.inf
    if ended is not None:
        smoothed = jnp.where(ended[:, None], 0, smoothed)
    smoothed = jnp.where(found[None, None], smoothed, 0)
    counts = jnp.where(found.reshape((1,) * (counts.ndim - 1) + (-1,)), counts, 0)
    return Marginals(smoothed[0], counts, smoothed), value


def logsumexp(x: Array) -> Array:
    """Over the first axis; minus infinity, with derivative zero, where all are."""
    top = or_zero(jnp.max(x, 0))
    total = jnp.sum(jnp.exp(x - top[None]), 0)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + top, -jnp.inf)
