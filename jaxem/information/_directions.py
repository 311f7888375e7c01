"""Derivatives along many directions, a few of them at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

BATCH = 16  # directions at a time


def in_directions(pushed: Callable[[PyTree], Any], directions: PyTree) -> Any:
    """A linear function of each direction, the leading axis of the leaves of `directions`, `BATCH` at a time.

    The last batch is filled up with zeros, so that one program does for all.
    """
    count = jax.tree.leaves(directions)[0].shape[0]
    if count <= BATCH:
        return jax.vmap(pushed)(directions)
    batches = -(-count // BATCH)
    size = -(-count // batches)

    def split(leaf: Array) -> Array:
        filler = jnp.zeros((batches * size - count, *leaf.shape[1:]), leaf.dtype)
        return jnp.concatenate([leaf, filler]).reshape(batches, size, *leaf.shape[1:])

    found = jax.lax.map(jax.vmap(pushed), jax.tree.map(split, directions))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)


def along(fn: Callable[[Array], Any], here: Array) -> Any:
    """The derivative of `fn` along each coordinate, stacked: `[p, ...]`."""
    return in_directions(jax.linearize(fn, here)[1], jnp.eye(here.size, dtype=here.dtype))


def hessian(fn: Callable[[Array], Array], here: Array) -> Array:
    """The second derivatives of a number, `[p, p]`."""
    return along(jax.grad(fn), here)
