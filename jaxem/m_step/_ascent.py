"""What M rules share that climb Q, or the objective, with a minimiser of Optax or Optimistix."""

from collections.abc import Callable
from typing import TYPE_CHECKING

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


if TYPE_CHECKING:
    import optax


class Optimiser:
    """An Optax transformation that minimises `loss`, in the precision of what it is given.

    Optax mixes integers with floating-point numbers, which JAX refuses where promotion is strict.
    """

    def __init__(self, transformation: "optax.GradientTransformation"):
        import optax  # slow to import

        self._inner = optax.with_extra_args_support(transformation)

    def init(self, free: PyTree) -> PyTree:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return self._inner.init(free)

    def step(
        self, loss: Callable[[PyTree], Array], value: Array, gradient: PyTree, free: PyTree, state: PyTree
    ) -> tuple[PyTree, PyTree]:
        """What to add to `free`, and the next state. Line searches call `loss`; others leave `value` unused."""
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, new = self._inner.update(gradient, state, free, value=value, grad=gradient, value_fn=loss)
        return _as(updates, free), _as(new, state)


def _as(tree: PyTree, like: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, like)
