"""A conditional that stays one under `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree


def refine_if(pred: Array, refine: Callable[..., PyTree], default: PyTree, *operands: Any) -> PyTree:
    """`where(pred, refine(*operands), default)`, running `refine` only when it is needed.

    `lax.cond` turns into a `select` that runs both sides once its predicate is batched. Here the branch is taken when
    *any* lane of the batch needs it, so a rare and costly correction costs nothing until then. The derivative is that
    of `default`, and zero where `pred` holds.
    """

    def select(pred, default, *operands):
        return jax.tree.map(lambda a, b: jnp.where(pred, a, b), refine(*operands), default)

    @jax.custom_jvp
    def run(pred, default, operands):
        return _conditional(select)(pred, default, *operands)

    @run.defjvp
    def _(primals, tangents):
        pred = primals[0]
        tangent = jax.tree.map(lambda t: jnp.where(pred, jnp.zeros_like(t), t), tangents[1])
        return run(*primals), tangent

    return run(pred, default, operands)


def _conditional(select: Callable[..., PyTree]) -> Callable[..., PyTree]:
    @custom_vmap
    def run(pred, default, *operands):
        return jax.lax.cond(jnp.any(pred), select, lambda pred, default, *operands: default, pred, default, *operands)

    @run.def_vmap
    def _(axis_size, in_batched, *args):
        args = jax.tree.map(
            lambda a, batched: a if batched else jnp.broadcast_to(a, (axis_size, *jnp.shape(a))),
            args,
            tuple(in_batched),
        )
        out = _conditional(jax.vmap(select))(*args)
        return out, jax.tree.map(lambda _: True, out)

    return run
