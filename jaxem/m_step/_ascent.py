"""Steps uphill on any objective, in unconstrained coordinates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._bound import AbstractBound
from jaxem._coordinates import vector
from jaxem.kernels.newton import newton_step


def ascend(objective: Callable[[PyTree], Array], model: AbstractBound, params: PyTree, halvings: int) -> PyTree:
    """`params` after one safeguarded Newton step with the whole Hessian of the trainable coordinates."""
    flat, at = vector(model, params)
    ones = jnp.ones_like(flat)[None]
    (moved,), rose = newton_step(lambda blocks: objective(at(blocks[0][0])), [flat[None]], [ones], halvings)
    return jax.tree.map(lambda new, old: jnp.where(rose, new, old), at(moved[0]), params)
