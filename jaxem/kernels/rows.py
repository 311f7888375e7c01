"""Which rows of a table count."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxem.kernels.chunks import num_shards
from jaxem.kernels.linalg import matmul, trailing

_WIDEST = 2048  # columns of the table that the rows are laid out in


def cumulative_sum(mass: Float[Array, " n"]) -> Float[Array, " n"]:
    """`jnp.cumsum` as two small matrix products: the built-in takes a second to compile on a CPU."""
    n = mass.shape[0]
    side = math.isqrt(n - 1) + 1
    table = jnp.pad(mass, (0, side * side - n)).reshape(side, side)
    upper = jnp.triu(jnp.ones((side, side), mass.dtype))
    before = matmul(jnp.sum(table, 1), upper - jnp.eye(side, dtype=mass.dtype))
    return (matmul(table, upper) + before[:, None]).reshape(-1)[:n]


def of_positive_weight(weights: Float[Array, " n"]) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """The numbers of the rows of positive weight, in order and with zeros behind them, and how many there are."""
    n = weights.shape[0]
    side = min(math.isqrt(n - 1) + 1, _WIDEST)
    length = -(-n // side)
    table = jnp.pad((weights > 0).astype(jnp.float32), (0, length * side - n)).reshape(length, side)
    # Whole numbers that single precision holds: those within a row of the table.
    inside = matmul(table, jnp.triu(jnp.ones((side, side), jnp.float32))).astype(jnp.int32)
    before = jnp.sum(jnp.where(jnp.tri(length, k=-1, dtype=bool), inside[None, :, -1], 0), 1, dtype=jnp.int32)
    place = (inside + before[:, None]).reshape(-1)[:n]
    rows = jnp.arange(n, dtype=jnp.int32)
    order = (
        jnp.zeros(n, jnp.int32)
        .at[jnp.where(weights > 0, place - 1, n + rows)]
        .set(rows, mode="drop", unique_indices=True, wrap_negative_indices=False)
    )
    return order, place[-1]


class Present(NamedTuple):
    """The rows of positive weight, in order: of each part of the rows that may lie on a device of its own.

    `order` holds their numbers within the part, with zeros behind them.
    """

    order: Int[Array, "shards m"]
    counts: Int[Array, " shards"]

    @staticmethod
    def of(weights: Float[Array, " n"]) -> "Present":
        shards = num_shards(weights, weights)
        if shards == 1:
            order, count = of_positive_weight(weights)
            return Present(order[None], count[None])
        return Present(*jax.vmap(of_positive_weight)(weights.reshape(shards, -1)))

    @property
    def total(self) -> Int[Array, ""]:
        """How many there are."""
        return self.counts[0] if len(self.counts) == 1 else jnp.sum(self.counts, dtype=jnp.int32)

    def at(self, places: Int[Array, " m"]) -> Int[Array, " m"]:
        """The numbers of the rows at these places. Each device looks among its own."""
        if len(self.counts) == 1:
            return self.order[0].at[places].get(mode="clip", wrap_negative_indices=False)
        shards, each = self.order.shape
        within = places[None] - (jnp.cumsum(self.counts) - self.counts)[:, None]
        found = jax.vmap(take)(self.order, jnp.clip(within, 0, each - 1))
        found = found + (jnp.arange(shards, dtype=jnp.int32) * each)[:, None]
        own = (within >= 0) & (within < self.counts[:, None])
        return jnp.sum(jnp.where(own, found, 0), 0, dtype=jnp.int32)


def take(a: Array, rows: Int[Array, " n"]) -> Array:
    """`a[rows]`, in fewer steps where every row is one of `a`."""
    return a.at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False)


def row_at(a: Array, number: Any) -> Array:
    """`a[number]`; where rows lie on several devices, without moving the others."""
    if num_shards(a, a) == 1:
        return a[number]
    own = jnp.arange(a.shape[0], dtype=number.dtype) == number
    return jnp.sum(jnp.where(trailing(own, a), a, jnp.zeros((), a.dtype)), 0, dtype=a.dtype)


def without_weight(counts: Array) -> Array:
    """Which members hold no more than rounding error of the weight."""
    return counts <= 10 * jnp.finfo(counts.dtype).eps * jnp.sum(counts)
