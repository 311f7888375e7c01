from typing import TYPE_CHECKING, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._coordinates import coordinates
from jaxem.kernels.newton import not_below
from jaxem.m_step._ascent import Optimiser
from jaxem.m_step._m_step import AbstractMStep

if TYPE_CHECKING:
    import optax


@final
class Optax(AbstractMStep):
    """Some steps of any Optax optimiser on Q: generalised EM.

    Minimises `-Q / total weight` in unconstrained coordinates. By default the optimiser starts afresh each iteration,
    since its moments belong to the Q it saw. With `restart=False` its state is carried on, so that a schedule of the
    learning rate counts the steps of the whole fit. Where Q did not rise the updates are scaled by half and tried
    again; the scale is remembered, and doubles back to 1 as steps succeed. So Q never falls, and neither does the
    likelihood. For models without a closed-form M-step and too many parameters for the Hessians of `Newton`. Take
    enough steps to come near the maximum of Q (5 to 50): a single gradient step is gradient ascent on the likelihood,
    slower than EM. Dempster, Laird and Rubin (1977) for GEM.

    A fit is differentiated through it in forward mode only.

    **Arguments:**

    - `transformation`: an `optax.GradientTransformation`; those with a line search (`optax.lbfgs()`) are given the
        value and the function.
    - `steps`: its steps in one iteration.
    - `halvings`: how often the scale is halved within an iteration before the step is given up.
    - `restart`: false to carry the state of the optimiser from one iteration to the next. A schedule then ends after
        `steps` times the iterations of the fit; what is given up counts as well.

    **Example**

    >>> import jaxem, optax
    >>> jaxem.Algorithm(m_step=jaxem.m_step.Optax(optax.adam(0.1), steps=20)).monotone
    True
    """

    transformation: "optax.GradientTransformation" = eqx.field(static=True)
    steps: int = eqx.field(static=True, default=20)
    halvings: int = eqx.field(static=True, default=30)
    restart: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def init(self, model, params):
        one = jnp.ones((), jax.tree.leaves(params)[0].dtype)
        if self.restart:
            return one
        return one, jax.tree.map(jnp.asarray, Optimiser(self.transformation).init(coordinates(model, params)[0]))

    def __call__(self, surrogate, params, state, key):
        optimiser = Optimiser(self.transformation)
        start, at = coordinates(surrogate.model, params)
        carried, begun = (state, optimiser.init(start)) if self.restart else state
        total = surrogate.total_weight

        def loss(free):
            return -surrogate(at(free)) / total

        def attempt(scale):
            def one(carry, _):
                free, opt = carry
                value, gradient = jax.value_and_grad(loss)(free)
                updates, opt = optimiser.step(loss, value, gradient, free, opt)
                return (jax.tree.map(lambda a, b: a + scale * b, free, updates), opt), None

            (moved, opt), _ = jax.lax.scan(one, (start, begun), length=self.steps)
            return moved, opt, not_below(-loss(moved), before, before)

        def again(carry):
            count, scale, *_ = carry
            return count + 1, scale / 2, *attempt(scale)

        def going(carry):
            count, *_, rose = carry
            return ~rose & (count <= self.halvings)

        before = -loss(start)
        nothing = (jnp.zeros((), jnp.int32), carried, start, begun, jnp.zeros((), bool))
        count, _, moved, opt, rose = jax.lax.while_loop(going, again, nothing)
        scale = carried * 0.5 ** (count - 1).astype(carried.dtype)
        moved = jax.tree.map(lambda new, old: jnp.where(rose, new, old), at(moved), params)
        scale = jnp.where(rose, jnp.minimum(2 * scale, 1), scale)
        return moved, scale if self.restart else (scale, opt)
