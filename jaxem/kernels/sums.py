"""Sums: over rows by weight, over devices, and of natural parameters times statistics."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

Reduce = Callable[[PyTree], PyTree]  # sums a tree over the devices that share the rows


def unreduced(tree: PyTree) -> PyTree:
    """The sum over devices when there is one."""
    return tree


def inner(natural: PyTree, stats: PyTree) -> Array:
    """`<natural, stats>`."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), natural, stats)))  # pyright: ignore[reportReturnType]


def weighted_sum(weights: Array, values: Array) -> Array:
    """Sum of `weights * values` in which a weight of zero wins over a value that is not finite."""
    return jnp.sum(weights * jnp.where((weights == 0) & ~jnp.isfinite(values), 0, values))
