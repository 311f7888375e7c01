"""Sums: over rows by weight, over devices, and of natural parameters times statistics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

Reduce = Callable[[PyTree], PyTree]  # sums a tree over the devices that share the rows


def repeated(reduce: Reduce, steps: int, body: Callable[[Any, PyTree], PyTree], start: PyTree) -> PyTree:
    """`body(i, carry)`, which sums by `reduce`, for each `i` below `steps`.

    One after the other where each sum takes a pass over batches, which no compiled loop can make.
    """
    if not getattr(reduce, "by_passes", False):
        return jax.lax.fori_loop(0, steps, body, start)
    for i in range(steps):
        start = body(i, start)
    return start


def unreduced(tree: PyTree) -> PyTree:
    """The sum over devices when there is one."""
    return tree


def inner(natural: PyTree, stats: PyTree) -> Array:
    """`<natural, stats>`."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), natural, stats)))  # pyright: ignore[reportReturnType]


def weighted_sum(weights: Array, values: Array) -> Array:
    """Sum of `weights * values` in which a weight of zero wins over a value that is not finite."""
    return jnp.sum(weights * jnp.where((weights == 0) & ~jnp.isfinite(values), 0, values))
