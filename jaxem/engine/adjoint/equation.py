"""The equation that a fit's parameters solve, as a differentiable function of them and of the problem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from jaxem._coordinates import vector
from jaxem._errors import MissingCapabilityError
from jaxem.engine.em import evaluate, propose, surrogate
from jaxem.engine.problem import Problem
from jaxem.engine.state import State
from jaxem.m_step import Draw, Surrogate
from jaxem.record import Last


def em_map(problem: Problem, params: PyTree, state: State) -> PyTree:
    """One iteration as a differentiable function of the parameters and the problem."""
    return propose(problem, _evaluated(problem, params, state), (state.key, state.key))[0]


def require_equation(problem: Problem) -> None:
    """Raise `MissingCapabilityError` for an algorithm whose fit solves no equation."""
    algorithm = problem.algorithm
    for holds, rule, reason in (
        (algorithm.e_step.needs == "sample", algorithm.e_step, "draws the latents"),
        (isinstance(algorithm.m_step, Draw), algorithm.m_step, "draws the parameters"),
        (not algorithm.update.exact, algorithm.update, "looks at some of the rows"),
        (not isinstance(algorithm.record, Last), algorithm.record, "reports several iterates"),
    ):
        if holds:
            raise MissingCapabilityError(
                "a fit has derivatives where it is the fixed point of an iteration, but "
                f"{type(rule).__name__} {reason}; differentiate a fit by jaxem.em() or the like that starts from this "
                "one, or pass adjoint=jaxem.adjoint.Unroll(...)"
            )


def closed(problem: Problem) -> bool:
    """Whether the fixed points are those of the model's closed-form M-step."""
    return problem.model.linear and problem.algorithm.m_step.closed


def unknowns(problem: Problem, params: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """What the equation is in, `[p]`, and the parameters at other values of it.

    The parameters of the loop that are not frozen, or their unconstrained coordinates.
    """
    if not closed(problem):
        return vector(problem.model, params)
    moving, fixed = eqx.partition(params, problem.model.trainable(params))
    flat, unravel = ravel_pytree(moving)
    return flat, lambda flat: eqx.combine(unravel(flat), fixed)


def defect(problem: Problem, state: State, at: Callable, new: Array, old: Array) -> Array:
    """What is zero at a fixed point, `[p]`, where both arguments are its `unknowns`.

    With an E-step at `old`: the maximum of Q less `new` if that has a closed form, or else the gradient of Q at `new`.
    Rules that take steps on Q, and decide how far, have that equation in common: it knows nothing of their decisions.
    """
    return _left(problem, _surrogate(problem, state, at(old)), at, new, old)


def defect_and_slope(problem: Problem, state: State, at: Callable, here: Array) -> tuple[Array, Array]:
    """The `defect` at one place, and the gradient of the objective, which is zero for parameters on their bounds."""
    q = _surrogate(problem, state, at(here))
    left = _left(problem, q, at, here, here)
    uphill = jax.grad(lambda flat: q(at(flat)))(here) if closed(problem) else left
    return left, jnp.where(jnp.isfinite(uphill), uphill, jnp.zeros_like(uphill))


def _left(problem: Problem, q: Surrogate, at: Callable, new: Array, old: Array) -> Array:
    if not closed(problem):
        return jax.grad(lambda flat: q(at(flat)))(new)
    model: Any = q.model
    mapped = model.maximize(q.stats, at(old))
    return ravel_pytree(eqx.filter(mapped, model.trainable(mapped)))[0] - new


def _surrogate(problem: Problem, state: State, params: PyTree) -> Surrogate:
    return surrogate(problem, _evaluated(problem, params, state), state.key)


def _evaluated(problem: Problem, params: PyTree, state: State) -> State:
    """The state after an E-step at `params`."""
    e_step = problem.algorithm.e_step
    # At the fixed point an extrapolated step is a plain one.
    e_state = e_step.reset(problem.model, params, state.rules.e_step)
    stats = ()
    if problem.model.linear:
        expect = evaluate(problem, problem.model.about(params), e_step, params, e_state)
        stats, _ = expect(problem.data, problem.weights, state.key)
    iterate = state.iterate._replace(params=params, stats=stats)
    return state._replace(iterate=iterate, rules=state.rules._replace(e_step=e_state))
