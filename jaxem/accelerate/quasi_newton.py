from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.accelerate._accelerator import AbstractAccelerator
from jaxem.kernels.linalg import matmul


class QuasiNewtonState(NamedTuple):
    """Position in the cycle, the first residual of the pair, the secant pairs, the EM step to fall back on, and
    how many pairs there are."""

    phase: Array
    residual: Float[Array, " p"]
    firsts: Float[Array, "p q"]
    seconds: Float[Array, "p q"]
    fallback: Float[Array, " p"]
    known: Array


@final
class QuasiNewton(AbstractAccelerator):
    """Newton's method on `x - M(x)`, the derivative of the EM map approximated by secant pairs.

    Each pair takes two EM steps, `u` and then `v`; the derivative is the least one that maps the last `pairs` steps `u`
    to `v`. For many parameters: nothing is stored but the pairs. Zhou, Alexander and Lange (2011).

    **Arguments:**

    - `pairs`: how many; no more than the number of parameters.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.algorithms.quasi_newton_em()
    """

    pairs: int = eqx.field(static=True, default=3)

    def __check_init__(self):
        if self.pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {self.pairs}")

    def init(self, free):
        empty = jnp.zeros((free.shape[0], max(min(self.pairs, free.shape[0]), 1)), free.dtype)
        zero = jnp.zeros((), jnp.int32)
        return QuasiNewtonState(zero, jnp.zeros_like(free), empty, empty, jnp.zeros_like(free), zero)

    def __call__(self, here, mapped, state):
        q = state.firsts.shape[1]
        residual = mapped - here
        second = state.phase == 1
        slot = state.known % q
        firsts = jnp.where(second, state.firsts.at[:, slot].set(state.residual), state.firsts)
        seconds = jnp.where(second, state.seconds.at[:, slot].set(residual), state.seconds)
        count = state.known + second.astype(jnp.int32)
        used = jnp.arange(q, dtype=count.dtype) < count
        # Unused columns are zero and have a one on the diagonal of the system.
        scale = jnp.sqrt(jnp.sum(firsts**2, 0))
        scale = jnp.where(used & (scale > 0), scale, 1)
        u, v = firsts / scale[None, :], seconds / scale[None, :]
        system = matmul(u.T, u - v) + jnp.diag(jnp.where(used, 0.0, 1.0).astype(u.dtype))
        weights = _solve(system, matmul(u.T, residual[:, None])[:, 0])
        far = mapped + matmul(v, weights[:, None])[:, 0]
        return jnp.where(second, far, mapped), QuasiNewtonState(
            1 - state.phase, residual, firsts, seconds, mapped, count
        )

    def plain(self, state):
        return state.phase == 1

    def comparable(self, state):
        return True

    def rejected(self, state):
        return state.fallback, state._replace(phase=jnp.zeros_like(state.phase), known=jnp.zeros_like(state.known))


def _solve(a: Array, b: Array) -> Array:
    """Gaussian elimination with partial pivoting, unrolled over a few rows."""
    n = a.shape[0]
    table = jnp.concatenate([a, b[:, None]], 1)
    for i in range(n):
        pivot = i + jnp.argmax(jnp.abs(table[i:, i]))
        upper, chosen = table[i], table[pivot]
        table = table.at[pivot].set(upper).at[i].set(chosen)
        row = table[i] / jnp.where(table[i, i] == 0, 1, table[i, i])
        factors = table[:, i].at[i].set(0)
        table = (table - factors[:, None] * row[None, :]).at[i].set(row)
    return table[:, n]
