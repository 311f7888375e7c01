"""Maximisation of the log-likelihood without EM, on equal terms with it."""

from typing import TYPE_CHECKING, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._coordinates import coordinates
from jaxem.m_step._ascent import Optimiser, ascend
from jaxem.m_step._m_step import AbstractMStep

if TYPE_CHECKING:
    import optax


@final
class NewtonAscent(AbstractMStep):
    """Newton's method on the log-likelihood, safeguarded, with its whole Hessian.

    In unconstrained coordinates; directions in which the log-likelihood is not concave are followed uphill, and the
    step is halved until it rises, so that it never falls. Quadratic convergence near a maximum, for a Hessian of all
    parameters and `halvings + 1` evaluations of the likelihood an iteration: for few parameters, a precise end, and to
    compare EM with. It needs no more of a model than EM gradient does. Lange (1995) relates the two.

    **Arguments:**

    - `halvings`: how often the step is halved before it is given up.

    **Example**

    >>> import jaxem
    >>> jaxem.Algorithm(m_step=jaxem.m_step.NewtonAscent()).monotone
    True
    """

    halvings: int = eqx.field(static=True, default=20)

    def __call__(self, surrogate, params, state, key):
        return ascend(surrogate.log_likelihood, surrogate.model, params, self.halvings), state


@final
class GradientAscent(AbstractMStep):
    """One step of any Optax optimiser on the log-likelihood.

    Minimises `-log_likelihood / total weight` in unconstrained coordinates. The gradient is that of Q (Fisher's
    identity), so that an iteration costs one E-step; the state of the optimiser is kept from one to the next. The
    objective may fall, so a run ends when a step gains little, whether or not it is near a maximum: give it a fixed
    number of steps (`jaxem.termination.FixedSteps()`) or a step length that vanishes. For models with very many
    parameters or rows, and to compare EM with.

    With `jaxem.update.Stepwise(rows, power=0.0)`, whose statistics are those of the last block alone, this is minibatch
    gradient ascent; a positive power averages the gradients of the blocks seen.

    **Arguments:**

    - `transformation`: an `optax.GradientTransformation`; those with a line search (`optax.lbfgs()`) are given the
        value and the function, each evaluation of which is a pass over all rows; end those by what they gain, since
        a search that rounding defeats may step anywhere.

    **Example**

    >>> import jaxem, optax
    >>> ascent = jaxem.m_step.GradientAscent(optax.adam(0.05))
    >>> minibatch = jaxem.Algorithm(update=jaxem.update.Stepwise(100, power=0.0), m_step=ascent)
    >>> minibatch.monotone
    False
    """

    transformation: "optax.GradientTransformation" = eqx.field(static=True)

    ascends: ClassVar[bool] = False

    def init(self, model, params):
        return Optimiser(self.transformation).init(coordinates(model, params)[0])

    def __call__(self, surrogate, params, state, key):
        here, at = coordinates(surrogate.model, params)
        total = surrogate.total_weight

        def loss(free):
            return -surrogate.log_likelihood(at(free)) / total

        gradient = jax.grad(lambda free: -surrogate(at(free)) / total)(here)
        # The compiler drops the value where the optimiser does not look at it.
        updates, state = Optimiser(self.transformation).step(loss, loss(here), gradient, here, state)
        return at(jax.tree.map(jnp.add, here, updates)), state
