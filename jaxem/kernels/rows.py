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
    """The rows that count, of each part of the rows that may lie on a device of its own: kind by kind, in order.

    `order` holds their numbers within the part, with others behind them.
    """

    order: Int[Array, "shards m"]
    counts: Int[Array, "shards kinds"]

    @staticmethod
    def of(weights: Float[Array, " n"]) -> "Present":
        """Those of positive weight: one kind."""
        shards = num_shards(weights, weights)
        if shards == 1:
            order, count = of_positive_weight(weights)
            return Present(order[None], count[None, None])
        order, count = jax.vmap(of_positive_weight)(weights.reshape(shards, -1))
        return Present(order, count[:, None])

    @staticmethod
    def of_kinds(kind: Int[Array, " n"], kinds: int) -> "Present":
        """Those of kind 0, 1 ... `kinds - 1`; rows of kind `kinds` do not count."""
        each = kind.reshape(num_shards(kind, kind), -1)
        of_kind = each[:, None] == jnp.arange(kinds, dtype=kind.dtype)[None, :, None]
        return Present(jnp.argsort(each, 1).astype(jnp.int32), jnp.sum(of_kind, 2, dtype=jnp.int32))

    @property
    def totals(self) -> Int[Array, " kinds"]:
        """How many there are of each kind."""
        return self.counts[0] if len(self.counts) == 1 else jnp.sum(self.counts, 0, dtype=jnp.int32)

    def at(self, places: Int[Array, " m"], kind: Any = 0) -> Int[Array, " m"]:
        """The numbers of the rows at these places among those of a kind. Each device looks among its own."""
        shards, each = self.order.shape
        held, first = self.counts[:, kind], (jnp.cumsum(self.counts, 1) - self.counts)[:, kind]
        if shards == 1:
            return self.order[0].at[first[0] + places].get(mode="clip", wrap_negative_indices=False)
        held, first, before = (a.reshape(shards, -1) for a in (held, first, jnp.cumsum(held, 0) - held))
        within = places[None] - before
        found = jax.vmap(take)(self.order, jnp.clip(first + within, 0, each - 1))
        found = found + (jnp.arange(shards, dtype=jnp.int32) * each)[:, None]
        return jnp.sum(jnp.where((within >= 0) & (within < held), found, 0), 0, dtype=jnp.int32)


def largest_rows(score: Float[Array, " n"], count: int) -> tuple[Float[Array, " count"], Int[Array, " count"]]:
    """The largest scores, in order, and the numbers of their rows; those of scores of minus infinity may be any.

    Where rows lie on several devices, XLA would have each get all scores for `jax.lax.top_k`. They get the largest of
    each block, and those blocks that hold what is looked for.
    """
    n, shards = score.shape[0], num_shards(score, score)
    if shards == 1:
        return jax.lax.top_k(score, count)
    each, size = n // shards, math.isqrt(n // count)
    padded = jnp.pad(score.reshape(shards, each), ((0, 0), (0, -each % size)), constant_values=-jnp.inf)
    blocks = padded.reshape(-1, size)
    number = jnp.sort(jax.lax.top_k(jnp.max(blocks, 1), min(count, blocks.shape[0]))[1])  # of equal ones the first row
    best, place = jax.lax.top_k(take(blocks, number).reshape(-1), count)
    block, within = take(number, place // size), place % size
    shard = block // (padded.shape[1] // size)
    return best, jnp.minimum(shard * (each - padded.shape[1]) + block * size + within, n - 1)


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
