"""Choices between trees and parts of them, and answers of several rules taken together."""

from collections.abc import Callable
from functools import reduce
from operator import and_
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree


def first_of(tree: PyTree) -> PyTree:
    """The first along the leading axis of every array, taken on the host; what is no array stays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0] if eqx.is_array(leaf) else leaf, tree)


def in_memory(*trees: PyTree) -> bool:
    """Whether all arrays lie in the memory of the host, as a whole: NumPy's, and those of JAX on one CPU."""

    def here(leaf: Any) -> bool:
        if isinstance(leaf, Tracer):
            return False
        return not isinstance(leaf, jax.Array) or [device.platform for device in leaf.devices()] == ["cpu"]

    return all(here(leaf) for leaf in jax.tree.leaves(trees))


def on_host(fn: Callable[..., np.ndarray], *trees: PyTree) -> PyTree:
    """`fn` of the leaves of trees with one structure, in NumPy; random keys are the numbers that they are made of.

    A call of a compiled program takes a hundred times as long for arrays as small as those of a run.
    """

    def one(*leaves: Any) -> Any:
        if not is_key(leaves[0]):
            return fn(*map(np.asarray, leaves))
        # Not by way of `jnp.asarray`, which compiles an operation for each shape.
        made: Any = fn(*(np.asarray(jax.random.key_data(leaf)) for leaf in leaves))
        return jax.random.wrap_key_data(made, impl=jax.random.key_impl(leaves[0]))

    return jax.tree.map(one, *trees)


def choose(pred: Any, a: PyTree, b: PyTree) -> PyTree:
    """`a` where `pred` and `b` elsewhere, leaf by leaf; a leaf that is the same in both stays as it is."""
    if pred is True:
        return a

    def one(x: Any, y: Any) -> Any:
        if x is y:
            return x
        x, y = jnp.asarray(x), jnp.asarray(y)
        # One operation, where `jnp.where` is a call of three; that converts numbers whose type Python chose.
        return jax.lax.select(pred, x, y) if x.dtype == y.dtype else jnp.where(pred, x, y)

    return jax.tree.map(one, a, b)


def every(*answers: Any) -> Any:
    """True where all answers are; those that are plainly `True`, for good, cost nothing."""
    open_answers = [answer for answer in answers if answer is not True]
    return reduce(and_, open_answers) if open_answers else True


def all_finite(tree: PyTree) -> Array:
    """True if every number in the tree is finite."""
    return jnp.all(jnp.concatenate([jnp.ravel(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def is_key(leaf: Any) -> bool:
    """Whether an array, or what is known of one, is of random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
