"""Sums over the rows of a data set, a cache-sized chunk at a time."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.kernels.devices import sizes

_FEW_APART = 2**22  # numbers, which a last-level cache holds
_MOST_OF_BLOCKS = 2**15  # what is done once for a block takes many blocks side by side to be worth its steps


def num_rows(data: PyTree) -> int:
    """The common leading length of the leaves of `data`."""
    return jax.tree.leaves(data)[0].shape[0]


def not_finite(data: PyTree, missing: bool = False) -> Array:
    """Which rows hold a number that is not finite; NaN, where `missing`, is no such number."""
    found = jnp.zeros(num_rows(data), bool)
    for leaf in jax.tree.leaves(data):
        wrong = jnp.isinf(leaf) if missing else ~jnp.isfinite(leaf)
        found = found | jnp.any(wrong, tuple(range(1, wrong.ndim)))
    return found


def chunk_rows(
    n: int,
    floats_per_row: int,
    expanded_per_row: int = 0,
    platform: str | None = None,
    block: int = 1,
    alone: bool = False,
) -> int:
    """Rows per chunk: large enough to amortise a step, small enough to stay in the cache of the platform's devices.

    A row takes `floats_per_row` numbers, of which `expanded_per_row` are written once and read by several matrix
    products. `platform` is that of JAX's default device unless it is given. Chunks are of whole blocks of `block` rows.
    A run is `alone` if no others go side by side with it, so that its products may take all cores.

    The chunks are of equal length but for an overlap in the last one, so that `n` rows never need padding. Where one
    chunk holds all rows, it says what one could hold, which is the same for any such `n`.
    """
    of_device = sizes(platform)
    most = of_device.most if block == 1 else max(of_device.most, _MOST_OF_BLOCKS)
    wanted = of_device.floats // max(floats_per_row, 1)
    if block == 1:  # in blocks, products stay within one of them
        wanted = min(wanted, (of_device.alone if alone else of_device.expanded) // max(expanded_per_row, 1))
    rows = min(max(wanted, of_device.least), most)
    if n > rows:
        rows = math.ceil(n / math.ceil(n / rows))
    return -(-rows // block) * block


def chunk_rows_apart(n: int, lanes: int, floats_per_row: int, expanded_per_row: int) -> int:
    """Rows per chunk of `lanes` runs side by side, each on data of its own.

    All of them where a last-level cache holds what that takes. Without a loop over chunks, statistics that depend on
    rows alone are worked out once for a round: half the time of an iteration of latent classes, on 2000 rows of 20.
    """
    if n * lanes * floats_per_row <= _FEW_APART:
        return n
    return chunk_rows(n, lanes * floats_per_row, lanes * expanded_per_row)


def per_device(tree: PyTree, rows: PyTree) -> PyTree:
    """`tree` as a value of each device's own, where `jax.shard_map` spreads these `rows` over devices.

    What is shared by the devices has derivatives that JAX sums over them; sums over rows are summed once, at the end.
    """
    if not any(map(_varies, jax.tree.leaves(rows))):
        return tree
    zeros = [jnp.zeros_like(leaf.reshape(-1)[0]) for leaf in jax.tree.leaves(rows)]
    return jax.tree.map(lambda leaf: sum((zero.astype(leaf.dtype) for zero in zeros), leaf), tree)


def per_part(tree: PyTree, index: Array, rows: PyTree) -> PyTree:
    """`tree` as a value of each part's own, in what `sum_chunks` adds up over the chunk `index` of these `rows`.

    Derivatives with respect to what is shared would be added up over parts first and over the rows of a chunk then, so
    that devices would pass on numbers for every row of a chunk.
    """
    if num_shards(rows, rows) == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf + (0 * index).astype(leaf.dtype), tree)


def _varies(leaf: Array) -> bool:
    """False for an array that is the same on all devices: there is no `jax.shard_map` around it."""
    kind = jax.typeof(leaf)
    axes = kind.mat.varying if hasattr(kind, "mat") else getattr(kind, "vma", True)
    return bool(axes)


def block_of(data: PyTree, weights: Array, index: Array, rows: int) -> tuple[PyTree, Array]:
    """Block `index` of `rows` rows, and its weights.

    The last one reaches back to stay full, over rows of the one before, which it gives weight zero.
    """
    start = jnp.minimum(index * rows, num_rows(data) - rows)
    block, w = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, rows, 0), (data, weights))
    return block, jnp.where(start + jnp.arange(rows, dtype=jnp.int32) >= index * rows, w, jnp.zeros_like(w))


def sum_chunks(
    fn: Callable[[PyTree, Array, Array], tuple[PyTree, Array]],
    data: PyTree,
    weights: Array,
    rows: int | None,
) -> tuple[PyTree, Array]:
    """Sum `fn(chunk, chunk_weights, index) -> (statistics, scalar)` over chunks of `rows` rows.

    Every row counts once. The scalar is summed with compensation, since convergence is judged on its differences.
    """
    shards = 1 if rows is None or rows >= num_rows(data) else num_shards(data, weights)
    return _sum_shards(fn, data, weights, rows, shards) if shards > 1 else _sum_own(fn, data, weights, rows)


def _sum_own(fn: Callable, data: PyTree, weights: Array, rows: int | None) -> tuple[PyTree, Array]:
    """`sum_chunks` over rows that lie on one device."""
    n = num_rows(data)
    if rows is None or rows >= n:
        return fn(data, weights, jnp.zeros((), jnp.int32))
    steps = math.ceil(n / rows)

    def body(carry, index):
        total, value, lost = carry
        chunk, w = block_of(data, weights, index, rows)
        add, scalar = fn(chunk, w, index)
        value, lost = compensated(value, lost, scalar)
        return (jax.tree.map(jnp.add, total, add), value, lost), None

    shapes, scalar = jax.eval_shape(fn, *_first(data, weights, rows), jnp.zeros((), jnp.int32))
    zeros: Any = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes, scalar))
    zeros, zero = per_device(zeros, (data, weights))
    (total, value, lost), _ = jax.lax.scan(body, (zeros, zero, zero), jnp.arange(steps, dtype=jnp.int32))
    return total, value + lost


def num_shards(data: PyTree, weights: PyTree) -> int:
    """How many parts the rows may lie in, each on a device: a divisor of their number.

    Under a trace JAX does not tell where arrays lie, so that as many as there are devices have to be thought of.
    """
    if any(map(_varies, jax.tree.leaves((data, weights)))):
        return 1  # inside `jax.shard_map` each device has its own
    return math.gcd(num_rows(data), jax.device_count())


def _sum_shards(fn: Callable, data: PyTree, weights: Array, rows: int | None, shards: int) -> tuple[PyTree, Array]:
    """`sum_chunks` over each of `shards` parts of the rows, side by side, and over these in the end.

    A loop over chunks of all rows would have each device get each chunk: the data would travel.
    """

    def part(data, weights, shard):
        def numbered(chunk, w, index):
            return fn(chunk, w, index * shards + shard)

        return _sum_own(numbered, data, weights, rows)

    x, w = jax.tree.map(lambda leaf: leaf.reshape(shards, -1, *leaf.shape[1:]), (data, weights))
    found = jax.vmap(part)(x, w, jnp.arange(shards, dtype=jnp.int32))
    return jax.tree.map(lambda leaf: jnp.sum(leaf, 0), found)


def _first(data, weights, rows):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype), (data, weights))


def compensated(total: Array, lost: Array, term: Array) -> tuple[Array, Array]:
    """One step of Neumaier's summation; an infinite total leaves no correction behind."""
    new = total + term
    error = jnp.where(jnp.abs(total) >= jnp.abs(term), (total - new) + term, (term - new) + total)
    return new, jnp.where(jnp.isfinite(new), lost + error, jnp.zeros_like(lost))
