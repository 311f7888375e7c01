from typing import NamedTuple, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.accelerate._accelerator import AbstractAccelerator


class ParabolicState(NamedTuple):
    """Position in the cycle, the point it began with, the EM step to fall back on, and how far to go beyond the end."""

    phase: Array
    start: Float[Array, " p"]
    fallback: Float[Array, " p"]
    power: Array


@final
class Parabolic(AbstractAccelerator):
    """Parabolic EM: along the parabola through two EM steps, beyond its end.

    After points `x0, x1, x2` of EM it goes to `(1 - t)^2 x0 + 2 t (1 - t) x1 + t^2 x2` with `t = 1 + step growth^i`,
    where `i` rises by one after a success and falls by two after a failure. Berlinet and Roland (2009).

    **Arguments:**

    - `step`: the first distance beyond the end.
    - `growth`: of that distance.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.algorithms.parabolic_em()
    """

    step: float = 0.1
    growth: float = 1.5

    def init(self, free):
        zero = jnp.zeros((), jnp.int32)
        return ParabolicState(zero, jnp.zeros_like(free), jnp.zeros_like(free), zero)

    def __call__(self, here, mapped, state):
        phase = state.phase
        t = 1 + self.step * self.growth ** state.power.astype(here.dtype)
        far = (1 - t) ** 2 * state.start + 2 * t * (1 - t) * here + t**2 * mapped
        target = jnp.where(phase == 1, far, mapped)
        start = jnp.where(phase == 0, here, state.start)
        power = state.power + (phase == 2).astype(jnp.int32)  # the point beyond the end was a success
        return target, ParabolicState((phase + 1) % 3, start, mapped, power)

    def plain(self, state):
        return state.phase != 2

    def comparable(self, state):
        return True

    def rejected(self, state):
        again = state._replace(phase=jnp.zeros_like(state.phase), power=jnp.maximum(state.power - 2, 0))
        return state.fallback, again
