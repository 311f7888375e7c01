"""The loop: propose parameters, evaluate them, judge, and accept them or go back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._algorithm import Algorithm
from jaxem._status import Status
from jaxem.engine.em import evaluate
from jaxem.engine.judge import Comparison, Evidence, Verdict, compare, judge
from jaxem.engine.move import Move, next_move, step_keys
from jaxem.engine.problem import Problem
from jaxem.engine.state import Iterate, Reference, State, begin
from jaxem.engine.trees import all_finite, choose, every
from jaxem.families.priors import all_have_modes
from jaxem.kernels.sums import Reduce, unreduced
from jaxem.termination import Step


class Found(NamedTuple):
    """What an evaluation finds where a move leads."""

    stats: PyTree
    objective: Array
    update: PyTree  # the state of the update rule
    rounding: Array  # relative error that rounding leaves in the statistics
    num_steps: Array


def step(problem: Problem, state: State) -> State:
    """Propose parameters, evaluate them, judge, and accept them or go back. A fresh run evaluates its start."""
    move = next_move(problem, state)
    return settle(problem, state, move, look(problem, state, move))


def settle(problem: Problem, state: State, move: Move, found: Found) -> State:
    """Judge what was found where the move leads, and accept it or go back. Looks at no row."""
    comparable = may_be_compared(problem.algorithm, move, found)
    comparison = compare(
        found.objective,
        state.iterate.objective,
        state.reference,
        found.rounding,
        problem.total_weight,
        comparable,
        state.fresh,
    )
    stop, termination = problem.termination(
        _as_termination_sees_it(problem, state, move, found, comparison), problem.tol, state.rules.termination
    )
    verdict = judge(_evidence(problem, state, move, found, comparison, stop))
    rules = move.rules._replace(update=found.update, termination=termination)
    accepted = _accepted(problem, state, move._replace(rules=rules), found, comparison, comparable, verdict)
    return choose(verdict.accept, accepted, _rejected(problem, state, move, found, verdict))


def look(problem: Problem, state: State, move: Move) -> Found:
    """The E-step and the update where the move leads."""
    num_steps = jnp.where(state.fresh, state.num_steps, state.num_steps + 1)
    model = problem.model.about(move.params)
    natural = model.natural(move.params)
    stats, value, update = problem.algorithm.update(
        evaluate(problem, model, problem.algorithm.e_step, move.params, move.rules.e_step, natural),
        lambda stats: model.translate(stats, problem.model.about(state.iterate.params)),
        natural,
        state.iterate.stats,
        state.fresh,
        problem.data,
        problem.weights,
        state.rules.update,
        step_keys(state.key, num_steps)[0],
        problem.reduce,
    )
    objective = value + problem.base + problem.model.log_prior(move.params).astype(value.dtype)
    rounding = problem.model.rounding_error(move.params, natural).astype(value.dtype)
    return Found(stats, objective, update, rounding, num_steps)


def may_be_compared(algorithm: Algorithm, move: Move, found: Found) -> Any:
    """True if every rule allows the objective to be compared with the last one that could be."""
    return every(
        algorithm.e_step.comparable(move.rules.e_step),
        algorithm.update.comparable(found.update),
        algorithm.m_step.comparable(move.rules.m_step),
        move.comparable,
    )


def _as_termination_sees_it(problem: Problem, state: State, move: Move, found: Found, comparison: Comparison) -> Step:
    decode, (gain, noise, largest_gain, _, digit) = problem.model.decode, comparison
    before, after = decode(state.iterate.params), decode(move.mapped)
    return Step(before, after, found.objective, gain, found.num_steps, noise, largest_gain, digit)


def _evidence(
    problem: Problem, state: State, move: Move, found: Found, comparison: Comparison, stop: Array
) -> Evidence:
    algorithm = problem.algorithm
    return Evidence(
        gain=comparison.gain,
        noise=comparison.noise,
        known=comparison.known,
        finite=jnp.isfinite(found.objective) & all_finite((move.params, found.stats)),
        rounding=found.rounding,
        degenerate=problem.model.degenerate(move.params),
        fresh=state.fresh,
        plain=move.plain,
        midway=False if move.comparable is True else ~move.comparable,
        stop=stop,
        rule_stop=algorithm.e_step.converged(move.rules.e_step, problem.tol, problem.total_weight),
        num_steps=found.num_steps,
        max_steps=problem.max_steps,
        caveat=state.iterate.caveat,
        monotone=algorithm.monotone,
        moves_on=problem.moves_on,
        done=problem.termination.done,
        at_limit=problem.termination.at_limit,
    )


def _accepted(
    problem: Problem,
    state: State,
    move: Move,
    found: Found,
    comparison: Comparison,
    comparable: Any,
    verdict: Verdict,
) -> State:
    """The state at the new parameters."""
    recorded = problem.algorithm.record.add(
        state.record, problem.model.decode(move.params), found.num_steps, problem.max_steps
    )
    seen = comparison.known & ~state.fresh
    lowest = jnp.full_like(found.objective, -jnp.inf)
    return State(
        iterate=Iterate(move.params, found.stats, found.objective, verdict.caveat),
        rules=move.rules._replace(termination=choose(seen, move.rules.termination, state.rules.termination)),
        reference=choose(
            comparable,
            Reference(found.objective, lowest),
            Reference(state.reference.objective, comparison.largest_gain),
        ),
        record=choose(state.fresh, state.record, recorded),
        history=state.noted(found.num_steps, found.objective),
        status=verdict.status,
        num_steps=found.num_steps,
        fresh=jnp.zeros((), bool),
        key=state.key,
    )


def _rejected(problem: Problem, state: State, move: Move, found: Found, verdict: Verdict) -> State:
    """The last iterate: with the reason, or to go on from without extrapolation where it is tried again."""
    kept, algorithm = state._replace(status=verdict.status), problem.algorithm
    if not algorithm.extrapolates:
        return kept
    params, accelerator = state.iterate.params, move.rules.accelerator
    if algorithm.accelerator is not None:
        target, accelerator = algorithm.accelerator.rejected(accelerator)
        params = move.back(target)
    e_state = algorithm.e_step.reset(problem.model, state.iterate.params, state.rules.e_step)
    again = kept.with_params(params)._replace(
        rules=state.rules._replace(e_step=e_state, accelerator=accelerator),
        history=state.noted(found.num_steps, state.iterate.objective),
        num_steps=found.num_steps,
        fresh=jnp.ones((), bool),
    )
    return choose(verdict.retry, again, kept)


def run(problem: Problem, state: State, limit: Any = None) -> State:
    """Iterate until the run ends, or for `limit` evaluations."""
    if limit is None:
        return jax.lax.while_loop(lambda s: s.status == Status.running, lambda s: step(problem, s), state)

    def going(carry):
        count, state = carry
        return (state.status == Status.running) & (count < limit)

    def body(carry):
        count, state = carry
        return count + 1, step(problem, state)

    return jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), state))[1]


def resume(problem: Problem, state: State) -> State:
    """A run that stopped for lack of accuracy, ready to go on under `problem`; any other is left as it is."""
    renewed = begin(problem, state.iterate.params, state.key, state.history.shape[0])
    renewed = renewed._replace(num_steps=state.num_steps, history=state.history)
    return choose(state.status == Status.inaccurate, renewed, state)


def enter(model: Any, params: PyTree, data: PyTree, weights: Array, lifted: bool, reduce: Reduce = unreduced) -> PyTree:
    """The user's parameters as those of the bound `model`, which is one of posteriors if the M rule `lifted` it."""
    if not lifted:
        return model.encode(params)
    return model.lift(model.plain.encode(params), data, weights, reduce)


def require_modes(model: Any, algorithm: Algorithm, iteration: Callable[[], Any]) -> None:
    """Raise the `ValueError` of an M-step that needs the mode of a prior which has none, while its values are known.

    Inside a compiled loop they are not, and parameters that are not finite would be the only sign of it. Nothing is
    computed, and nothing traced unless there is such a prior.
    """
    if algorithm.m_step.rung == 2 and not all_have_modes(model):
        jax.eval_shape(iteration)
