"""Small dense linear algebra, batched over leading axes, at full precision on every device."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array

from jaxem.kernels import small

HIGHEST = jax.lax.Precision.HIGHEST
# Of single precision made of several products in a narrower one: three of TF32, six or nine of bfloat16.
PRESETS = ("TF32_TF32_F32_X3", "BF16_BF16_F32_X6", "BF16_BF16_F32_X9")
_UNROLLED = 4  # up to this size matrices are factored and inverted entry by entry
_LOOPED = 32  # up to this size triangular matrices are inverted row by row
_WHOLE = 64  # up to this size a CPU factors matrices whole


def matmul(a: Array, b: Array) -> Array:
    """Matrix product that never falls back to plain TF32 or bfloat16."""
    return jnp.matmul(a, b, precision=_precision(a, b))


def einsum(spec: str, *operands: Array) -> Array:
    """`jnp.einsum` that never falls back to plain TF32 or bfloat16."""
    return jnp.einsum(spec, *operands, precision=_precision(*operands))


def _precision(*operands: Array) -> Any:
    """Full precision, or one of the `PRESETS` for single precision if JAX is told so for all products of matrices."""
    asked = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009, it has no type
    single = all(jnp.result_type(operand) == jnp.float32 for operand in operands)
    return jax.lax.DotAlgorithmPreset[asked] if asked in PRESETS and single else HIGHEST


def sum_features(a: Array) -> Array:
    """Sum over the second last axis, `[..., d, n] -> [..., n]`.

    A product with a row of ones: XLA fuses a plain sum into what came before, and on a CPU the fusion of a batched
    matrix product and a sum was up to ten times slower (jaxlib 0.10).
    """
    ones = jnp.ones((*a.shape[:-2], 1, a.shape[-2]), a.dtype)
    return matmul(ones, a)[..., 0, :]


def transpose(a: Array) -> Array:
    """The last two axes exchanged."""
    return jnp.swapaxes(a, -1, -2)


def symmetrize(a: Array) -> Array:
    """The mean of matrices and their transposes."""
    return (a + transpose(a)) / 2


def from_eigen(vectors: Array, values: Array) -> Array:
    """Symmetric matrices with these eigenvectors, the columns, and eigenvalues."""
    return symmetrize(matmul(vectors * values[..., None, :], transpose(vectors)))


def trailing(a: Array, like: Array) -> Array:
    """`a` with axes of length 1 behind its own, as many axes as `like` has, to broadcast against it."""
    return a.reshape(a.shape + (1,) * (like.ndim - a.ndim))


def outer(a: Array, b: Array) -> Array:
    """Outer product of the last axes."""
    return a[..., :, None] * b[..., None, :]


@jax.custom_jvp
def cholesky(a: Array) -> Array:
    """Lower Cholesky factor of the symmetric part; NaN where there is none."""
    if a.shape[-1] <= _UNROLLED:
        factor = _entries_first(small.cholesky, symmetrize(a))
        return jnp.where(jnp.isnan(factor[..., -1:, -1:]), jnp.nan, factor)
    return _one_by_one_on_cpu(_cholesky, symmetrize(a), _cholesky_by_blocks)


@cholesky.defjvp
def _(primals, tangents):
    factor = cholesky(*primals)
    inverse = inverse_lower(factor)
    inner = matmul(matmul(inverse, symmetrize(tangents[0])), transpose(inverse))
    half = jnp.tril(inner) - diagonal_matrix(jnp.diagonal(inner, axis1=-2, axis2=-1) / 2)
    return factor, matmul(factor, half)


@jax.custom_jvp
def eigh(a: Array) -> tuple[Array, Array]:
    """Eigenvalues in ascending order, and eigenvectors in columns, of symmetric matrices."""
    return _one_by_one_on_cpu(_eigh, a)


@eigh.defjvp
def _(primals, tangents):
    values, vectors = eigh(*primals)
    inner = matmul(matmul(transpose(vectors), symmetrize(tangents[0])), vectors)
    eye = jnp.broadcast_to(jnp.eye(values.shape[-1], dtype=bool), inner.shape)
    gap = jnp.where(eye, 1, values[..., None, :] - values[..., :, None])
    turned = jnp.where(eye, 0, inner / gap)
    return (values, vectors), (jnp.diagonal(inner, axis1=-2, axis2=-1), matmul(vectors, turned))


def eigh_where(wanted: Array, a: Array) -> tuple[Array, Array]:
    """`eigh` of the matrices that are `wanted`, `[...]`, and nothing of use of the others; without derivatives."""

    def in_turn(a, wanted):
        return jax.lax.map(lambda each: jax.lax.cond(each[1], _eigh, lambda a: (a[0], a), each[0]), (a, wanted))

    return jax.lax.platform_dependent(
        jax.lax.stop_gradient(a), wanted, cpu=partial(_on_one_axis, in_turn), default=lambda a, wanted: _eigh(a)
    )


def svd(a: Array) -> tuple[Array, Array, Array]:
    """Singular value decompositions `u, s, v^T`; without derivatives."""
    return _one_by_one_on_cpu(_svd, jax.lax.stop_gradient(a))


def _one_by_one_on_cpu(fn: Callable, a: Array, on_cpu: Callable | None = None) -> Any:
    """`fn` of all matrices; on a CPU of each in turn, whatever the axes before them, those of `vmap` included.

    There `on_cpu` takes the place of `fn`, if it is given.

    There a call of LAPACK with several matrices spreads them over XLA's threads and waits for them in one of these: as
    many calls side by side as there are threads wait forever (jaxlib up to 0.10). That is also why triangular solves
    and derivatives are matrix products here.
    """

    in_turn = partial(jax.lax.map, on_cpu or fn)
    return jax.lax.platform_dependent(a, cpu=partial(_on_one_axis, in_turn), default=fn)


def _on_one_axis(fn: Callable, a: Array, *each: Array) -> Any:
    """`fn` of the matrices in `[..., d, d]` as `[m, d, d]`, the axes of `vmap` included; `each` has a number of each.

    Under a plain `vmap` slices at the counter of a loop would turn into gathers and scatters.
    """

    @custom_vmap
    def flat(a, *each):
        found = fn(a.reshape(-1, *a.shape[-2:]), *(number.reshape(-1) for number in each))
        return jax.tree.map(lambda leaf: leaf.reshape(*a.shape[:-2], *leaf.shape[1:]), found)

    @flat.def_vmap
    def _(axis_size, in_batched, *args):
        every = [
            arg if batched else jnp.broadcast_to(arg, (axis_size, *arg.shape))
            for arg, batched in zip(args, in_batched, strict=True)
        ]
        found = flat(*every)
        return found, jax.tree.map(lambda _: True, found)

    return flat(a, *each)


def _entries_first(fn: Callable[[Array], Array], a: Array) -> Array:
    """`fn` of `[d, d, ...]` for matrices `[..., d, d]`."""
    return jnp.moveaxis(fn(jnp.moveaxis(a, (-2, -1), (0, 1))), (0, 1), (-2, -1))


def _cholesky(a: Array) -> Array:
    return jax.lax.linalg.cholesky(a, symmetrize_input=False)


def _cholesky_by_blocks(a: Array) -> Array:
    """The factor of one matrix, `[d, d]`, by products of blocks.

    LAPACK spreads a large matrix over threads of its own, which wait for those of XLA: four times as long for 256 rows.
    """
    d = a.shape[-1]
    if d <= _WHOLE:
        return _cholesky(a)
    half = -(-d // (2 * _WHOLE)) * _WHOLE
    first = _cholesky_by_blocks(a[:half, :half])
    below = matmul(a[half:, :half], transpose(inverse_lower(first)))
    second = _cholesky_by_blocks(a[half:, half:] - matmul(below, transpose(below)))
    factor = jnp.block([[first, jnp.zeros_like(below.T)], [below, second]])
    # Of a matrix that has no factor, the last entry is NaN.
    return jnp.where(jnp.isnan(factor[-1, -1]), jnp.nan, factor)


def _eigh(a: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(a)
    return values, vectors


def _svd(a: Array) -> tuple[Array, Array, Array]:
    u, s, vt = jnp.linalg.svd(a)
    return u, s, vt


@jax.custom_jvp
def inverse_lower(factor: Array) -> Array:
    """Inverse of a lower triangular matrix."""
    if factor.shape[-1] <= _UNROLLED:
        return _entries_first(small.inverse_lower, factor)
    return _on_one_axis(_inverse_by_rows, factor) if factor.shape[-1] <= _LOOPED else _inverse_by_blocks(factor)


@inverse_lower.defjvp
def _(primals, tangents):
    inverse = inverse_lower(*primals)
    return inverse, -matmul(matmul(inverse, tangents[0]), inverse)


def _inverse_by_rows(factor: Array) -> Array:
    """Forward substitution in a loop: as fast as products of blocks for small matrices, and quicker to compile."""
    d = factor.shape[-1]

    def add(i, inverse):
        row = jax.lax.dynamic_slice_in_dim(factor, i, 1, 1)
        pivot = jax.lax.dynamic_slice_in_dim(row, i, 1, 2)
        unit = (jnp.arange(d) == i).astype(factor.dtype)
        found = (jnp.broadcast_to(unit, row.shape) - matmul(row, inverse)) / pivot
        return jax.lax.dynamic_update_slice_in_dim(inverse, found, i, 1)

    return jax.lax.fori_loop(0, d, add, jnp.zeros_like(factor))


def _inverse_by_blocks(factor: Array) -> Array:
    """Diagonal blocks of twice the size at each turn."""
    d = factor.shape[-1]
    size = 1 << (d - 1).bit_length()
    padding = [(0, 0)] * (factor.ndim - 2) + [(0, size - d)] * 2
    filler = jnp.asarray(np.diag(np.arange(size) >= d), factor.dtype)
    factor = jnp.pad(factor, padding)
    factor = factor + jnp.broadcast_to(filler, factor.shape)
    inverse = (1 / jnp.diagonal(factor, axis1=-2, axis2=-1))[..., None, None]
    while inverse.shape[-1] < size:
        half = inverse.shape[-1]
        first, second = inverse[..., 0::2, :, :], inverse[..., 1::2, :, :]
        below = _diagonal_blocks(factor, 2 * half)[..., half:, :half]
        below = -matmul(matmul(second, below), first)
        top = jnp.concatenate([first, jnp.zeros_like(first)], -1)
        inverse = jnp.concatenate([top, jnp.concatenate([below, second], -1)], -2)
    return inverse[..., 0, :d, :d]


def solve_lower(factor: Array, b: Array) -> Array:
    """Solve `factor @ x = b` for lower triangular `factor`, batched over the leading axes of both."""
    return matmul(inverse_lower(factor), b)


def _diagonal_blocks(a: Array, size: int) -> Array:
    """`[..., d, d] -> [..., d / size, size, size]`."""
    count = a.shape[-1] // size
    blocks = a.reshape(*a.shape[:-2], count, size, count, size)
    return jnp.moveaxis(jnp.diagonal(blocks, axis1=-4, axis2=-2), -1, -3)


def diagonal_matrix(v: Array) -> Array:
    """Matrices with the last axis on the diagonal."""
    eye = jnp.eye(v.shape[-1], dtype=v.dtype)
    return v[..., None] * jnp.broadcast_to(eye, (*v.shape, v.shape[-1]))


def half_log_det(factor: Array) -> Array:
    """Half the log determinant of `factor @ factor.T`."""
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), -1)


def pack_symmetric(a: Array) -> Array:
    """Coefficients `[..., d(d+1)/2]` of the products `x_i x_j, i <= j` in the quadratic form of `a`."""
    rows, columns = np.triu_indices(a.shape[-1])
    both = (a + transpose(a))[..., rows, columns]
    share = jnp.asarray(np.where(rows == columns, 0.5, 1.0), a.dtype)
    return both * jnp.broadcast_to(share, both.shape)


def products(x: Array) -> Array:
    """The products `x_i x_j, i <= j`: `[d, n] -> [d(d+1)/2, n]`, features first so that rows are contiguous."""
    rows, columns = np.triu_indices(x.shape[0])
    return x[rows] * x[columns]
