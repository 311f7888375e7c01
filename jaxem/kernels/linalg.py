"""Small dense linear algebra, batched over leading axes, at full precision on every device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

HIGHEST = jax.lax.Precision.HIGHEST


def matmul(a: Array, b: Array) -> Array:
    """Matrix product that never falls back to TF32 or bfloat16."""
    return jnp.matmul(a, b, precision=HIGHEST)


def einsum(spec: str, *operands: Array) -> Array:
    """`jnp.einsum` that never falls back to TF32 or bfloat16."""
    return jnp.einsum(spec, *operands, precision=HIGHEST)


def transpose(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


def symmetrize(a: Array) -> Array:
    return (a + transpose(a)) / 2


def outer(a: Array, b: Array) -> Array:
    """Outer product of the last axes."""
    return a[..., :, None] * b[..., None, :]


def solve_lower(factor: Array, b: Array) -> Array:
    """Solve `factor @ x = b` for lower triangular `factor`, batched over the leading axes of both."""
    batch = jnp.broadcast_shapes(factor.shape[:-2], b.shape[:-2])
    factor = jnp.broadcast_to(factor, (*batch, *factor.shape[-2:]))
    return solve_triangular(factor, jnp.broadcast_to(b, (*batch, *b.shape[-2:])), lower=True)


def inverse_lower(factor: Array) -> Array:
    """Inverse of a lower triangular matrix."""
    return solve_lower(factor, jnp.eye(factor.shape[-1], dtype=factor.dtype))


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
