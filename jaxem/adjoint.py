"""How `solve` is differentiated."""

from abc import abstractmethod
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from jaxem._loop import Problem, State, evaluate, propose, run, step


class AbstractAdjoint(eqx.Module):
    """Runs the loop such that the final parameters have derivatives with respect to the problem."""

    @abstractmethod
    def run(self, problem: Problem, state: State) -> State:
        """The state at the end of the run."""


def em_map(problem: Problem, params: PyTree, state: State) -> PyTree:
    """One iteration as a differentiable function of the parameters and the problem."""
    model, e_step = problem.model.at(params), problem.algorithm.e_step
    # At the fixed point an extrapolated step is a plain one.
    e_state = e_step.reset(problem.model, params, state.e_state)
    expect = evaluate(problem, model, e_step, params, e_state)
    stats, _ = expect(problem.data, problem.weights, state.key)
    return propose(problem, state._replace(params=params, stats=stats, e_state=e_state), (state.key, state.key))[0]


def _run_constant(problem: Problem, state: State) -> State:
    dynamic, static = eqx.partition((problem, state), eqx.is_inexact_array)
    problem, state = eqx.combine(jax.lax.stop_gradient(dynamic), static)
    return jax.lax.stop_gradient(run(problem, state))


@final
class Implicit(AbstractAdjoint):
    """The implicit function theorem at the fixed point: exact at convergence, in memory independent of the steps.

    Solves `(I - dM/dparams) u = v` with the EM map `M`: densely up to `dense_limit` parameters, and by GMRES above. An
    error in the fixed point is amplified by one over (1 - rate of convergence), so converge tightly. Christianson
    (1994).

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.Implicit()
    """

    linear_solver: Any = None
    dense_limit: int = eqx.field(static=True, default=1000)

    def run(self, problem, state):
        final = _run_constant(problem, state)
        solver = self.linear_solver
        if solver is None and sum(leaf.size for leaf in jax.tree.leaves(final.params)) > self.dense_limit:
            import lineax as lx  # slow to import

            solver = lx.GMRES(rtol=1e-6, atol=1e-9)
        return final._replace(params=_attach(problem, final, solver))


@eqx.filter_custom_jvp
def _attach(problem, final, solver):
    return final.params


@_attach.def_jvp
def _(primals, tangents):
    problem, final, solver = primals
    # A frozen parameter is a fixed point wherever it is: the equation is for the others.
    trainable = problem.model.trainable(final.params)
    params, frozen = eqx.partition(final.params, trainable)

    def mapped(problem, params):
        return eqx.filter(em_map(problem, eqx.combine(params, frozen), final), trainable)

    _, driven = eqx.filter_jvp(lambda p: mapped(p, params), (problem,), (tangents[0],))
    driven = jax.tree.map(lambda p, t: jnp.zeros_like(p) if t is None else t, params, driven)

    def residual(v):
        return jax.tree.map(jnp.subtract, v, jax.jvp(lambda p: mapped(problem, p), (params,), (v,))[1])

    if solver is None:
        flat, unravel = ravel_pytree(driven)
        columns = jax.vmap(lambda unit: ravel_pytree(residual(unravel(unit)))[0])(jnp.eye(flat.size, dtype=flat.dtype))
        moved = unravel(jnp.linalg.solve(columns.T, flat))
    else:
        import lineax as lx

        operator = lx.FunctionLinearOperator(residual, jax.eval_shape(lambda: params))
        moved = lx.linear_solve(operator, driven, solver).value
    return final.params, eqx.combine(moved, jax.tree.map(jnp.zeros_like, frozen))


@final
class OneStep(AbstractAdjoint):
    """Differentiates one last iteration, with what it starts from held fixed (Bolte, Pauwels and Vaiter 2023).

    Cheap, with a relative error of about the rate of convergence.

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.OneStep()
    """

    def run(self, problem, state):
        final = _run_constant(problem, state)
        return final._replace(params=em_map(problem, final.params, final))


@final
class Unroll(AbstractAdjoint):
    """Differentiates through the iterations themselves, `steps` at most; exact for a run stopped early.

    **Arguments:**

    - `steps`: a static bound on the number of steps; memory grows with it (the state after each step is kept, the
        rest is recomputed).

    **Example**

    >>> import jaxem
    >>> adjoint = jaxem.adjoint.Unroll(steps=20)
    """

    steps: int = eqx.field(static=True)

    def run(self, problem, state):
        from jaxem._status import Status

        @jax.checkpoint
        def body(state, _):
            going = state.status == Status.running
            new = step(problem, state)
            return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, state), None

        final, _ = jax.lax.scan(body, state, length=self.steps + 1)
        status = Status.where(final.status == Status.running, Status.max_steps_reached, final.status)
        return final._replace(status=status)
