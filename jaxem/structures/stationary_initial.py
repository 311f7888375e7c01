"""The stationary distribution as that of the first state."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp

from jaxem.kernels import exclusion
from jaxem.kernels.newton import newton_step
from jaxem.structures._parts import AbstractInitial
from jaxem.structures._pattern import stationary

_STEPS, _HALVINGS = 20, 10


@final
class StationaryInitial(AbstractInitial):
    """The stationary distribution of the transitions, from which it follows: it has no parameters of its own.

    The M-step of the transitions is then Newton's method, run to its end and safeguarded, from the better of the
    current ones and their estimate without the first state.

    **Example**

    >>> import jaxem
    >>> jaxem.HMM(jaxem.Poisson(), num_states=2, initial=jaxem.structures.StationaryInitial()).num_states
    2
    """

    follows: ClassVar[bool] = True

    def check_transitions(self, transitions):
        if transitions.driven:
            raise ValueError(
                "transitions that depend on covariates have no stationary distribution; take initial='free', or "
                "transitions=FreeTransitions()"
            )

    def conform(self, initial, transition):
        return stationary(transition)

    def maximize(self, counts, initial, transition):
        return stationary(transition)

    def unconstrain(self, initial):
        return jnp.zeros(0, initial.dtype)

    def constrain(self, free, transition):
        return stationary(transition)

    def adjust(self, first, moves, estimate, transition, transitions):
        def q(transition):
            return jnp.sum(first * exclusion.log(stationary(transition))) + transitions.objective(moves, transition)

        begin = jnp.where(q(estimate) >= q(transition), estimate, transition)
        free = transitions.unconstrain(begin)
        shape = free.shape
        if free.size == 0:
            return begin
        rounding = 4 * jnp.finfo(moves.dtype).eps

        def objective(blocks):
            return q(transitions.constrain(blocks[0].reshape(shape)))

        def step(carry):
            count, free, value, _ = carry
            (moved,), rose = newton_step(objective, [free], [jnp.ones_like(free)], _HALVINGS)
            new = objective([moved])
            return count + 1, moved, new, rose & (new - value > rounding * jnp.abs(value))

        def going(carry):
            return carry[3] & (carry[0] < _STEPS)

        flat = free.reshape(1, -1)
        start = (jnp.zeros((), jnp.int32), flat, objective([flat]), jnp.ones((), bool))
        _, flat, value, _ = jax.lax.while_loop(going, step, start)
        found = transitions.constrain(flat.reshape(shape))
        return jnp.where(value >= q(begin), found, begin)
