from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.accelerate._accelerator import AbstractAccelerator
from jaxem.kernels import linalg
from jaxem.kernels.linalg import matmul

_SLOW, _BASE = 25, 1.2  # how damping relaxes with successes (Henderson and Varadhan 2019)


class AndersonState(NamedTuple):
    """The last point and residual, windows of their differences, the EM step to
    fall back on, how many columns are in use, and successes."""

    point: Float[Array, " p"]
    residual: Float[Array, " p"]
    points: Float[Array, "p m"]
    residuals: Float[Array, "p m"]
    fallback: Float[Array, " p"]
    columns: Array
    successes: Array


@final
class Anderson(AbstractAccelerator):
    """Damped Anderson acceleration with restarts (DAAREM).

    Extrapolates by the combination of the last `window` differences that makes the residual `M(x) - x` least, damped so
    that the coefficients shrink to a share of their norm that rises with the number of successes; the window is emptied
    when it is full. Needs the fewest evaluations on most slow problems. Henderson and Varadhan (2019).

    **Arguments:**

    - `window`: the most differences in use; no more than half the number of parameters, rounded up.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.anderson()
    """

    window: int = eqx.field(static=True, default=5)

    def __check_init__(self):
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")

    def init(self, free):
        p = free.shape[0]
        m = max(min(self.window, -(-p // 2)), 1)
        empty = jnp.zeros((p, m), free.dtype)
        zero = jnp.zeros((), jnp.int32)
        return AndersonState(free, free, empty, empty, free, zero - 1, zero)

    def __call__(self, here, mapped, state):
        m = state.points.shape[1]
        residual = mapped - here
        known = state.columns >= 0
        full = state.columns >= m
        count = jnp.where(full, 0, state.columns)
        slot = jnp.clip(count, 0, m - 1)
        points = state.points.at[:, slot].set(here - state.point)
        residuals = state.residuals.at[:, slot].set(residual - state.residual)
        count = jnp.where(known, count + 1, 0)
        used = (jnp.arange(m, dtype=count.dtype) < count)[None, :]
        points, residuals = jnp.where(used, points, 0), jnp.where(used, residuals, 0)
        coefficients = _damped(residuals, residual, state.successes)
        step = residual - matmul(points + residuals, coefficients[:, None])[:, 0]
        target = jnp.where(count > 0, here + step, mapped)
        return target, AndersonState(here, residual, points, residuals, mapped, count, state.successes + 1)

    def plain(self, state):
        return state.columns <= 0

    def comparable(self, state):
        return True

    def rejected(self, state):
        # Start over, with more damping.
        successes = jnp.maximum(state.successes - 1 - state.points.shape[1], -2 * _SLOW)
        return state.fallback, state._replace(columns=-jnp.ones_like(state.columns), successes=successes)


def _damped(columns, target, successes):
    """Ridge regression of `target` on `columns`, the ridge such that the norm shrinks to the wanted share."""
    # Columns of length one: their scales differ by orders of magnitude near convergence.
    scale = jnp.sqrt(jnp.sum(columns**2, 0))
    scale = jnp.where(scale > 0, scale, 1)
    unit = columns / scale[None, :]
    values, vectors = linalg.eigh(matmul(unit.T, unit))
    values = jnp.maximum(values, 0)
    inner = matmul(vectors.T, matmul(unit.T, target[:, None]))[:, 0]
    least = jnp.finfo(values.dtype).eps * values.shape[0] * jnp.max(values)
    usable = values > least

    def solve(ridge):
        shifted = values + ridge
        return jnp.where(usable, inner / jnp.where(usable, shifted, 1), 0)

    share = 1 / (1 + _BASE ** (_SLOW - successes.astype(values.dtype)))
    wanted = share * jnp.sum(solve(0.0) ** 2)
    low, high = jnp.full((), -40.0, values.dtype), jnp.full((), 10.0, values.dtype)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        long = jnp.sum(solve(jnp.exp(middle)) ** 2) > wanted
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    low, _ = jax.lax.fori_loop(0, 40, halve, (low, high))
    return matmul(vectors, solve(jnp.exp(low))[:, None])[:, 0] / scale
