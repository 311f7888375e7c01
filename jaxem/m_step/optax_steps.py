from typing import TYPE_CHECKING, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._coordinates import coordinates
from jaxem.kernels.newton import not_below
from jaxem.m_step._m_step import AbstractMStep
from jaxem.m_step._optimiser import Optimiser

if TYPE_CHECKING:
    import optax


@final
class Optax(AbstractMStep):
    """Some steps of any Optax optimiser on Q: generalised EM.

    Minimises `-Q / total weight` in unconstrained coordinates. The optimiser starts afresh each iteration, since its
    moments belong to the Q it saw. Where Q did not rise the updates are scaled by half and tried again; the scale is
    remembered, and doubles back to 1 as steps succeed. So Q never falls, and neither does the likelihood. For models
    without a closed-form M-step and too many parameters for the Hessians of `Newton`. Take enough steps to come near
    the maximum of Q (5 to 50): a single gradient step is gradient ascent on the likelihood, slower than EM. Dempster,
    Laird and Rubin (1977) for GEM.

    A fit is differentiated through it in forward mode only.

    **Arguments:**

    - `transformation`: an `optax.GradientTransformation`; those with a line search (`optax.lbfgs()`) are given the
        value and the function.
    - `steps`: its steps in one iteration.
    - `halvings`: how often the scale is halved within an iteration before the step is given up.

    **Example**

    >>> import jaxem, optax
    >>> jaxem.Algorithm(m_step=jaxem.m_step.Optax(optax.adam(0.1), steps=20)).monotone
    True
    """

    transformation: "optax.GradientTransformation" = eqx.field(static=True)
    steps: int = eqx.field(static=True, default=20)
    halvings: int = eqx.field(static=True, default=30)

    def __check_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def init(self, model, params):
        return jnp.ones((), jax.tree.leaves(params)[0].dtype)

    def __call__(self, surrogate, params, state, key):
        optimiser = Optimiser(self.transformation)
        start, at = coordinates(surrogate.model, params)
        total = surrogate.total_weight

        def loss(free):
            return -surrogate(at(free)) / total

        def attempt(scale):
            def one(carry, _):
                free, opt = carry
                value, gradient = jax.value_and_grad(loss)(free)
                updates, opt = optimiser.step(loss, value, gradient, free, opt)
                return (jax.tree.map(lambda a, b: a + scale * b, free, updates), opt), None

            (moved, _), _ = jax.lax.scan(one, (start, optimiser.init(start)), length=self.steps)
            return moved, not_below(-loss(moved), before, before)

        def again(carry):
            count, scale, *_ = carry
            return count + 1, scale / 2, *attempt(scale)

        def going(carry):
            count, _, _, rose = carry
            return ~rose & (count <= self.halvings)

        before = -loss(start)
        nothing = (jnp.zeros((), jnp.int32), state, start, jnp.zeros((), bool))
        count, _, moved, rose = jax.lax.while_loop(going, again, nothing)
        scale = state * 0.5 ** (count - 1).astype(state.dtype)
        moved = jax.tree.map(lambda new, old: jnp.where(rose, new, old), at(moved), params)
        return moved, jnp.where(rose, jnp.minimum(2 * scale, 1), scale)
