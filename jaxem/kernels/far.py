"""Rows so far from all members that their log density is beyond the numbers: brought near along a straight line.

The posterior of such a row is the limit that it tends to on its way: the member that is least far, in its own units,
takes it. Its log density is minus infinity.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.kernels.exclusion import lowest


def normal_reach(dtype: Any) -> float:
    """How many standard deviations away the log density of a normal distribution can be told from that of nothing."""
    return math.sqrt(-lowest(dtype))


def square_reach(dtype: Any) -> float:
    """The same where it is enough that squares are finite."""
    return 2.0 ** (jnp.finfo(dtype).maxexp // 2 - 4)


def within_squares(x: Array) -> tuple[Array, Bool[Array, " n"]]:
    """Rows `[n, d]` whose squares are finite, and which have been brought near for that."""
    size = _largest(jnp.where(jnp.isnan(x), 0, jnp.abs(x)))  # a missing entry is nowhere
    most = 2 * square_reach(x.dtype)
    far = size > most
    return x * jnp.where(far, most / jnp.where(far, size, 1), 1)[:, None], far


def within_reach(y: Float[Array, "k d n"], reach: float) -> tuple[Float[Array, "k d n"], Bool[Array, " n"]]:
    """Standardised rows under each member, and which rows have been brought near: those farther than `reach` from all.

    They are brought so near that no member is farther away than that: any of them may be the one that has a weight.
    """
    size = _largest(jnp.abs(y)) * math.sqrt(y.shape[1])
    far, most = jnp.min(size, 0) > reach, jnp.max(size, 0)
    return y * jnp.where(far, reach / jnp.where(far, most, 1), 1)[None, None], far


def _largest(size: Array) -> Array:
    """The largest along the second axis, constant to JAX: its own derivative is NaN where rounding, when the program
    computes the sizes again, leaves none equal to it."""
    return jnp.max(jax.lax.stop_gradient(size), 1)
