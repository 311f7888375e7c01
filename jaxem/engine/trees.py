"""Choices between trees and parts of them, and answers of several rules taken together."""

from functools import reduce
from operator import and_
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


def first_of(tree: PyTree) -> PyTree:
    """The first along the leading axis of every array, taken on the host; what is no array stays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0] if eqx.is_array(leaf) else leaf, tree)


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
