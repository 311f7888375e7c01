"""Unconstrained coordinates of the parameters that are not frozen, and the way back."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree


def coordinates(model: Any, params: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """The trainable coordinates of `params` (`None` for the others), and the parameters at other values of them."""
    free = model.unconstrain(params)
    mine, fixed = eqx.partition(free, model.trainable(free))
    trainable = model.trainable(params)

    def at(mine):
        moved = model.constrain(eqx.combine(mine, fixed))
        return jax.tree.map(lambda new, old, on: new if on else old, moved, params, trainable)

    return mine, at


def vector(model: Any, params: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """The same, as one vector."""
    mine, at = coordinates(model, params)
    flat, unravel = ravel_pytree(mine)
    return flat, lambda flat: at(unravel(flat))
