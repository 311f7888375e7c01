from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.accelerate._accelerator import AbstractAccelerator
from jaxem.kernels.extrapolation import squared_step


class SquaremState(NamedTuple):
    """Position in the cycle, the points it began with, the EM step to fall back on, and the bound on the length.

    `calm` says that cycles have begun.
    """

    phase: Array
    start: Float[Array, " p"]
    first: Float[Array, " p"]
    fallback: Float[Array, " p"]
    bound: Array
    plain: Array
    calm: Array


@final
class Squarem(AbstractAccelerator):
    """Squared extrapolation, scheme S3.

    Each cycle takes two EM steps, `r` and then `r + v`, goes to `start + 2 a r + a^2 v` with `a = |r| / |v|`, and takes
    one more EM step from there, after which it is judged against the first two. The bound on `a` grows when it is met.
    For slow problems with many parameters: nothing is stored but three points. Varadhan and Roland (2008).

    **Arguments:**

    - `growth`: of the bound on the step length.
    - `parameters`: extrapolate the parameters themselves instead of unconstrained coordinates, with points outside of
        their domain refused: often faster where the maximum is far from the boundary.
    - `tail`: begin as EM, and extrapolate once it converges: each step points where the last one did, and is shorter.
        Until there a start goes where EM takes it, so that most end at the optimum that EM finds.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.squarem()
    """

    growth: float = 4.0
    parameters: bool = eqx.field(static=True, default=False)
    tail: bool = eqx.field(static=True, default=False)

    @property
    def unconstrained(self):
        return not self.parameters

    def init(self, free):
        zeros, yes = jnp.zeros_like(free), jnp.ones((), bool)
        one = jnp.ones((), free.dtype)
        calm = yes if not self.tail else ~yes
        return SquaremState(jnp.zeros((), jnp.int32), zeros, zeros, zeros, one, yes, calm)

    def __call__(self, here, mapped, state):
        phase = state.phase
        r = state.first - state.start
        v = (mapped - here) - r
        length = jnp.minimum(squared_step(r, v), state.bound)
        calm = state.calm | ((phase == 1) & _converging(r, mapped - here)) if self.tail else state.calm
        far = (phase == 1) & calm & (length > 1)
        target = jnp.where(far, state.start + 2 * length * r + length**2 * v, mapped)
        grown = (phase == 1) & calm & (length >= state.bound)
        waiting = (phase == 1) & ~calm  # the last two points are the first two of the next cycle
        begins = (phase == 0) | waiting
        return target, SquaremState(
            jnp.where(begins, 1, jnp.where(far, 2, 0)),
            jnp.where(begins, here, state.start),
            jnp.where(begins, mapped, state.first),
            jnp.where(phase == 1, mapped, state.fallback),
            jnp.where(grown, state.bound * self.growth, state.bound),
            ~far & (phase != 2),
            calm,
        )

    def plain(self, state):
        return state.plain

    def comparable(self, state):
        return state.phase != 2

    def rejected(self, state):
        again = state._replace(phase=jnp.zeros_like(state.phase), bound=jnp.maximum(state.bound / self.growth, 1))
        return state.fallback, again


def _converging(before: Float[Array, " p"], now: Float[Array, " p"]) -> Bool[Array, ""]:
    """True where a step is shorter than the last one, and points within two degrees of where that did."""
    squares = jnp.sum(before**2), jnp.sum(now**2)
    along = jnp.sum(before * now)
    return (squares[1] < squares[0]) & (along > 0) & (along**2 > 0.999 * squares[0] * squares[1])
