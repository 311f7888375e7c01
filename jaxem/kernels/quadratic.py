"""Quadratic forms of rows by matrix products, without the d(d+1)/2 products of their columns."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from jaxem.kernels.branch import refine_if
from jaxem.kernels.linalg import matmul, transpose

_LEAST_BLOCK = 32  # columns, below which the products are too thin
_FEW = 8  # columns, up to which either form takes as long
_PAIRS_IN_CACHE = 2**10  # products of columns for each of 256 rows, in the second-level cache of a core
_MOST_PAIRS = 2**17  # products of columns that would fill memory: 256 MB for 256 rows in double precision
_FEW_MEMBERS = 4  # whose forms in single precision are summed by a product
_MOST_BLOCKS = 4  # five eighths of the operations of whole matrices; more blocks make programs longer


def block_edges(d: int) -> list[tuple[int, int]]:
    """First column of each block, and the one after its last."""
    size = max(_LEAST_BLOCK, -(-d // _MOST_BLOCKS))
    return [(start, min(start + size, d)) for start in range(0, d, size)]


def blocks_pay(members: int, d: int, dtype: Any = float) -> bool:
    """Whether blocks of columns are better than the d(d+1)/2 products of columns; from shapes alone.

    In single precision they are wherever there are several: the error of a row is that of sums of d terms instead of
    one of d(d+1)/2, a third to a tenth from 32 to 128 columns, for a third of the time more at most.

    Else they are where they take less time. Counted for each row, in the time that it takes to move a number: products
    of columns are written once and read twice, which costs twice as much out of a core's cache; a member's columns are
    written and read on either way. A multiplication costs a sixth of that. Measured on a CPU, where either form is
    within a third of the other when they are close.
    """
    pairs = d * (d + 1) // 2
    if d <= _FEW or (members > 1 and d <= _LEAST_BLOCK):
        return False
    if pairs > _MOST_PAIRS or (d > _LEAST_BLOCK and jnp.dtype(dtype) == jnp.float32):
        return True
    multiplied = sum((stop - start) * (d - start) for start, stop in block_edges(d))
    moved = 3 * pairs * (1 if pairs <= _PAIRS_IN_CACHE else 2)
    return moved + members * pairs / 3 > 4 * members * d + members * multiplied / 3


def upper_blocks(quadratic: Float[Array, "k d d"]) -> list[Array]:
    """Matrices as the blocks of rows on and right of the diagonal, `[k, b, d - start]`; linear.

    What is left of it is added to its mirror image, so that the quadratic form is the same.
    """
    blocks = []
    for start, stop in block_edges(quadratic.shape[-1]):
        mirrored = transpose(quadratic[:, stop:, start:stop])
        right = quadratic[:, start:stop, stop:] + mirrored
        blocks.append(jnp.concatenate([quadratic[:, start:stop, start:stop], right], -1))
    return blocks


@jax.custom_jvp
def forms(blocks: Sequence[Array], x: Float[Array, "n d"]) -> Float[Array, "k n"]:
    """`x^T quadratic x` of every row under every matrix, from the `upper_blocks` of these.

    The derivative in the blocks, transposed, is `sum_n g[k, n] x[n] x[n]^T` in the same blocks.
    """
    total = jnp.zeros((x.shape[0], blocks[0].shape[0]), x.dtype)
    for (start, stop), block in zip(block_edges(x.shape[1]), blocks, strict=True):
        k, b, width = block.shape
        y = matmul(x[:, start:], block.reshape(k * b, width).T).reshape(-1, k, b) * x[:, None, start:stop]
        total = total + (_sum_members(y) if k <= _FEW_MEMBERS and y.dtype == jnp.float32 else jnp.sum(y, -1))
    return total.T


def _sum_members(y: Float[Array, "n k b"]) -> Float[Array, "n k"]:
    """Sums over the last axis by a product.

    XLA on a CPU fuses a plain sum with the product before it, which took twice as long for two members in single
    precision (jaxlib 0.10).
    """
    _, k, b = y.shape
    return matmul(y.reshape(-1, k * b), jnp.repeat(jnp.eye(k, dtype=y.dtype), b, 0))


def _bilinear(blocks: Sequence[Array], left: Float[Array, "n d"], right: Float[Array, "n d"]) -> Float[Array, "k n"]:
    """Columns first: so are its transposes, which a CPU multiplies twice as fast as those of `forms`."""
    left, right, total = left.T, right.T, None
    for (start, stop), block in zip(block_edges(left.shape[0]), blocks, strict=True):
        k, b, width = block.shape
        y = matmul(block.reshape(k * b, width), right[start:]).reshape(k, b, -1)
        part = jnp.sum(y * left[None, start:stop], 1)
        total = part if total is None else total + part
    assert total is not None
    return total


def _forms_jvp(primals, tangents):
    (blocks, x), (moved, dx) = primals, tangents
    found = forms(blocks, x)
    tangent = jnp.zeros_like(found)
    # A derivative in the blocks alone must not pay for one in the rows.
    if not _constant(*moved):
        tangent = tangent + _bilinear([_array(change) for change in moved], x, x)
    if not _constant(dx):
        tangent = tangent + _bilinear(blocks, dx, x) + _bilinear(blocks, x, dx)
    return found, tangent


forms.defjvp(_forms_jvp, symbolic_zeros=True)


def whitened(inverse: Float[Array, "k d d"], location: Float[Array, "k d"], x: Float[Array, "d n"]) -> Array:
    """`inverse (x - location)` for each member in turn, `[k, d, n]`; the matrices are lower triangular."""

    def one(member):
        inverse, location = member
        about = x - location[:, None]
        return jnp.concatenate([matmul(inverse[a:b, :b], about[:b]) for a, b in block_edges(x.shape[0])], 0)

    return jax.lax.map(one, (inverse, location))


@jax.custom_jvp
def whitened_forms(
    quadratic: Float[Array, "k d d"], linear: Float[Array, "k d"], y: Float[Array, "k d n"]
) -> Float[Array, "k n"]:
    """`y^T quadratic y + linear^T y` of rows that each member has whitened; linear in the coefficients.

    Where `quadratic` is `-I / 2`, as it is of a member that has whitened them itself, there is no matrix product to do.
    """
    eye = jnp.broadcast_to(jnp.eye(y.shape[1], dtype=y.dtype), quadratic.shape)
    own = jnp.sum(y * (linear[:, :, None] - y / 2), 1)
    return refine_if(jnp.any(quadratic != -eye / 2), _by_member, own, quadratic, linear, y, y)


def _by_member(quadratic: Array, linear: Array, left: Array, right: Array) -> Float[Array, "k n"]:
    """`left^T (quadratic right + linear)`: what one member needs stays in cache."""

    def one(member):
        quadratic, linear, left, right = member
        return jnp.sum(left * (matmul(quadratic, right) + linear[:, None]), 0)

    return jax.lax.map(one, (quadratic, linear, left, right))


def _of_blocks(blocks: Sequence[Array], linear: Array, y: Array) -> Float[Array, "k n"]:
    """`y^T quadratic y + linear^T y` from the `upper_blocks` of the matrices, for each member in turn.

    The derivative in the blocks, transposed, is half of the products that whole matrices take.
    """

    def one(member):
        blocks, linear, y = member
        total = jnp.sum(y * linear[:, None], 0)
        for (start, stop), block in zip(block_edges(y.shape[0]), blocks, strict=True):
            total = total + jnp.sum(y[start:stop] * matmul(block, y[start:]), 0)
        return total

    return jax.lax.map(one, (tuple(blocks), linear, y))


def _whitened_forms_jvp(primals, tangents):
    (quadratic, linear, y), (*moved, dy) = primals, tangents
    found = whitened_forms(quadratic, linear, y)
    tangent = jnp.zeros_like(found)
    if not _constant(*moved):
        change, shift = map(_array, moved)
        tangent = tangent + _of_blocks(upper_blocks(change), shift, y)
    if not _constant(dy):
        tangent = tangent + _by_member(quadratic + transpose(quadratic), linear, dy, y)
    return found, tangent


whitened_forms.defjvp(_whitened_forms_jvp, symbolic_zeros=True)


def _constant(*tangents: Any) -> bool:
    return all(isinstance(tangent, SymbolicZero) for tangent in tangents)


def _array(tangent: Any) -> Array:
    constant: Any = tangent
    return jnp.zeros(constant.shape, constant.dtype) if _constant(constant) else tangent
