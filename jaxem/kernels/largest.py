"""The largest along the leading axis, and where it is."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxem.kernels.chunks import per_device

_TOGETHER = 8  # entries of the leading axis that one turn of the loop looks at


def largest(values: Float[Array, "k n"]) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """The place of the first largest of `k` values, and the value: NaN where one of them is.

    XLA's own reduction of pairs goes down each column by itself on a CPU, which takes up to forty times as long as to
    compare rows (jaxlib 0.10). The derivative is that of the value in its place.
    """
    constant = jax.lax.stop_gradient(values)
    place = jax.lax.platform_dependent(constant, cpu=_row_by_row, default=_first_of_columns)
    column = jnp.arange(values.shape[1], dtype=jnp.int32)
    return place, values.at[place, column].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _first_of_columns(values: Float[Array, "k n"]) -> Int[Array, " n"]:
    return jnp.argmax(values, 0).astype(jnp.int32)


def _row_by_row(values: Float[Array, "k n"]) -> Int[Array, " n"]:
    k = values.shape[0]
    together = min(k, _TOGETHER)

    def look(turn, best):
        # The last block reaches back to stay full: rows that were seen before are no larger than the largest.
        first = jnp.minimum(turn * together, k - together)
        block = jax.lax.dynamic_slice_in_dim(values, first, together, 0)
        place, top = best
        for j in range(together):
            better = (block[j] > top) | jnp.isnan(block[j])
            place, top = jnp.where(better, first + j, place), jnp.where(better, block[j], top)
        return place, top

    begun = jnp.zeros(values.shape[1], jnp.int32), values[0]
    return jax.lax.fori_loop(0, math.ceil(k / together), look, per_device(begun, values))[0]
