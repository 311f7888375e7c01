"""The rules by which `solve` is differentiated."""

from abc import abstractmethod
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._status import Status
from jaxem.engine.adjoint.attach import Settings, attached
from jaxem.engine.loop import run, step
from jaxem.engine.problem import Problem
from jaxem.engine.state import State


class AbstractAdjoint(eqx.Module):
    """Runs the loop, and gives the final parameters derivatives with respect to the problem."""

    @abstractmethod
    def run(self, problem: Problem, state: State) -> State:
        """The state at the end of a run."""

    @abstractmethod
    def attach(self, problem: Problem, state: State) -> State:
        """The final state, with the derivatives of its parameters."""


def _run_constant(problem: Problem, state: State) -> State:
    dynamic, static = eqx.partition((problem, state), eqx.is_inexact_array)
    problem, state = eqx.combine(jax.lax.stop_gradient(dynamic), static)
    return jax.lax.stop_gradient(run(problem, state))


@final
class Implicit(AbstractAdjoint):
    """The implicit function theorem at the fixed point: exact at convergence, in memory independent of the steps.

    What is differentiated is the equation that the fit solves: the closed-form M-step returns the parameters it was
    given, or the gradient of the objective is zero in unconstrained coordinates. Derivatives of any order, forward and
    reverse, under `jit` and `vmap`. Christianson (1994).

    **Arguments:**

    - `linear_solver`: a solver of lineax, to use in the place of a dense one. It sees products with the matrix alone.
    - `dense_limit`: up to so many parameters the matrix is made and decomposed; above, GMRES solves with products.
    - `unidentified`: what the derivatives are of parameters that the data do not determine: an empty component, a
        rotation. `"minimum_norm"` is the smallest change that solves the equation, `"nan"` is NaN for each of them.
        Derivatives of what is determined are the same under both. The dense solver tells which those are. GMRES
        cannot: a derivative that it does not find is NaN.
    - `unconverged`: what the derivatives are of a run that stopped too early. `"nan"` is NaN where Newton's step to the
        fixed point would still gain more than 1e-4 nats per unit of weight (of the objective, as `tol` is). `"as_is"`
        is the formula at the last iterate. `"one_step"` is the derivative of one iteration from there, as by `OneStep`,
        and so it is where the linear equation has no finite solution: no derivative is NaN, as training a network
        needs. In a batch each run has its own.

    An error `e` in the fixed point, in standard deviations of one observation, leaves an error of about that size in
    a derivative, relative to it; the default `tol` leaves 0.1 to 1 percent. Pass `tol=1e-12` where that is too much.

    **Raises:** when differentiated, `MissingCapabilityError` for an algorithm that draws, looks at some of the rows, or
    reports an average.

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.Implicit(unidentified="nan")
    """

    linear_solver: Any = None
    dense_limit: int = eqx.field(static=True, default=1000)
    unidentified: str = eqx.field(static=True, default="minimum_norm")
    unconverged: str = eqx.field(static=True, default="nan")

    def __check_init__(self):
        for name, known in (("unidentified", ("minimum_norm", "nan")), ("unconverged", ("nan", "as_is", "one_step"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, got {getattr(self, name)!r}")

    def run(self, problem, state):
        return _run_constant(problem, state)

    def attach(self, problem, state):
        settings = Settings(self.linear_solver, self.dense_limit, self.unidentified, self.unconverged)
        return attached(problem, state, settings)


@final
class OneStep(AbstractAdjoint):
    """Differentiates one last iteration, with what it starts from held fixed (Bolte, Pauwels and Vaiter 2023).

    Cheap, with a relative error of about the rate of convergence. Where there is no closed-form M-step, the iteration
    is a Newton step on Q.

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.OneStep()
    """

    def run(self, problem, state):
        return _run_constant(problem, state)

    def attach(self, problem, state):
        return attached(problem, state, Settings(unconverged="as_is", one_step=True))


@final
class Unroll(AbstractAdjoint):
    """Differentiates through the iterations themselves, `steps` at most; exact for a run stopped early.

    Where latents are drawn the draws count as constants.

    **Arguments:**

    - `steps`: a static bound on the number of steps; memory grows with it (the state after each step is kept, the
        rest is recomputed).

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.Unroll(steps=20)
    """

    steps: int = eqx.field(static=True)

    def run(self, problem, state):
        @jax.checkpoint
        def body(state, _):
            going = state.status == Status.running
            new = step(problem, state)
            return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, state), None

        final, _ = jax.lax.scan(body, state, length=self.steps + 1)
        status = Status.where(final.status == Status.running, Status.max_steps_reached, final.status)
        return final._replace(status=status)

    def attach(self, problem, state):
        return state
