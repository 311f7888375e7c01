"""What an M-step leaves as it is, whatever its author wrote: frozen parameters, and members without weight."""

from typing import Any

import jax
from jaxtyping import Array, PyTree

from jaxem._paths import covers, leaf_name
from jaxem._traced import leaves_used
from jaxem.kernels.rows import without_weight


def kept(kernel: Any, new: PyTree, old: PyTree, frozen: tuple[str, ...], counts: Array | None) -> PyTree:
    """New parameters of members, but for those that are frozen, and those of members without weight.

    The last move where a prior moves them, or where all members have them in common.
    """
    shared = kernel.family.shared
    moved = leaves_used(kernel.log_prior, old)
    empty = None if counts is None else without_weight(counts)

    def one(path: Any, new: Array, old: Array, by_prior: bool) -> Array:
        name = leaf_name(path)
        if any(covers(prefix, name) for prefix in frozen):
            return old
        if empty is None or by_prior or any(covers(prefix, name) for prefix in shared):
            return new
        # Two operations for each leaf, in every iteration: `jnp.where` would take more.
        return jax.lax.select(jax.lax.broadcast_in_dim(empty, new.shape, (0,)), old, new)

    return jax.tree_util.tree_map_with_path(one, new, old, moved)
