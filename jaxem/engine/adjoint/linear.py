"""Linear equations that may be singular: solved, transposed and differentiated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.kernels.linalg import matmul, svd, transpose

_SWEEPS = 20  # of balancing
_COLUMNS = 8  # products with the matrix that are taken at once


class Inverse(NamedTuple):
    """A matrix `[p, p]`, its pseudo-inverse, and what is needed to judge them."""

    matrix: Array
    inverse: Array
    scale: Array  # [p], units of the unknowns in which the matrix is balanced
    loose: Array  # [p], true for unknowns that the equation leaves undetermined


def columns(product: Callable[[Array], Any], p: int, dtype: Any) -> Any:
    """`product` of every unit vector, stacked, a few at a time: memory that does not grow with `p`."""
    return jax.lax.map(product, jnp.eye(p, dtype=dtype), batch_size=min(_COLUMNS, p))


def pseudo_inverse(matrix: Array, left: Array, here: Array) -> Inverse:
    """The inverse on the directions that the equation determines; of the others, the smallest solution.

    Both are meant in balanced units. The matrix is of size 1 in directions that are well determined, and singular to
    rounding error in others; but along a symmetry of the model, such as a rotation, only as far as `left`, what is left
    of the equation `here`, is zero.
    """
    scale = _balance(matrix)
    u, s, vt = svd(matrix * scale[None, :] / scale[:, None])
    left, size = (jnp.sqrt(jnp.sum((a / scale) ** 2)) for a in (left, here))
    floor = jnp.minimum(left / jnp.where(size > 0, size, 1), 1e-3)
    floor = jnp.maximum(floor, jnp.finfo(here.dtype).eps ** (2 / 3))
    kept = s > floor * jnp.maximum(s[0], 1)
    inner = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    inverse = matmul(transpose(vt) * inner[None, :], transpose(u)) * scale[:, None] / scale[None, :]
    share = jnp.sum(jnp.where(kept[:, None], 0, vt**2), 0)
    return Inverse(matrix, inverse, scale, share > _slack(matrix))


def _balance(matrix: Array) -> Array:
    """Units `[p]` of the unknowns in which rows are as large as columns (Osborne 1960, all at once and damped).

    Within bounds: in the units of a parameter that is almost zero, the rounding error of others would be huge.
    """
    bound = jnp.sqrt(jnp.finfo(matrix.dtype).eps)
    size = jnp.abs(matrix) * (1 - jnp.eye(matrix.shape[0], dtype=matrix.dtype))

    def sweep(_, scale):
        here = size * scale[None, :] / scale[:, None]
        row, column = jnp.sum(here, 1), jnp.sum(here, 0)
        both = (row > 0) & (column > 0)
        ratio = jnp.where(both, jnp.where(both, row, 1) / jnp.where(both, column, 1), 1)
        return jnp.clip(scale * ratio**0.25, bound, 1 / bound)

    return jax.lax.fori_loop(0, _SWEEPS, sweep, jnp.ones_like(matrix[0]))


def _slack(like: Array) -> float:
    return float(jnp.finfo(like.dtype).eps) ** 0.25


def dense(found: Inverse, strict: bool) -> tuple[Callable, Callable]:
    """How an equation with this matrix is solved, and the transposed one.

    Forward it has no solution if something is left over: then all is NaN. With `strict` undetermined unknowns are NaN,
    and so is what depends on them.
    """
    lost = jnp.where(found.loose, jnp.nan, 1).astype(found.matrix.dtype) if strict else jnp.ones_like(found.scale)

    def forward(_, b):
        x = matmul(found.inverse, b)
        left, size = (jnp.max(jnp.abs(a / found.scale), initial=0) for a in (matmul(found.matrix, x) - b, b))
        return jnp.where(left <= _slack(b) * size, x, jnp.nan) * lost

    def backward(_, c):
        return matmul(transpose(found.inverse), jnp.where(c == 0, 0, c * lost))

    return forward, backward


def iterative(solver: Any, like: Array) -> tuple[Callable, Callable]:
    """The same with products alone, by a solver of lineax; NaN where it fails. By default GMRES."""
    import lineax as lx  # slow to import

    tol = 10 * float(jnp.finfo(like.dtype).eps) ** 0.5
    solver = lx.GMRES(rtol=tol, atol=tol, restart=50, max_steps=1000) if solver is None else solver

    def solve(product, b):
        size = jnp.sqrt(jnp.sum(b**2))
        unit = b / jnp.where(size > 0, size, 1)
        operator = lx.FunctionLinearOperator(product, jax.ShapeDtypeStruct(b.shape, b.dtype))
        found = lx.linear_solve(operator, unit, solver, throw=False)
        left = jnp.max(jnp.abs(product(found.value) - unit), initial=0)
        return jnp.where(left <= _slack(b), found.value * size, jnp.nan)

    return solve, solve
