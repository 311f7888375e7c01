"""A run whose rows come in batches: the very step of the loop, its sums taken by passes over them."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, final

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._algorithm import Algorithm
from jaxem._errors import MissingCapabilityError
from jaxem._solve import Fit, finish
from jaxem._status import Status
from jaxem.engine.lanes import few_products
from jaxem.engine.loop import Found, look, settle
from jaxem.engine.move import Move, coordinates, next_move
from jaxem.engine.passes import Known, Passes, Rows, Staged
from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.programs import Call, Program, program
from jaxem.engine.runner import AbstractRunner
from jaxem.engine.state import State
from jaxem.engine.trees import choose
from jaxem.kernels.sums import Reduce, unreduced
from jaxem.record import Last
from jaxem.termination import AbstractTermination


def bound(passes: Passes, model: Any, algorithm: Algorithm, termination: AbstractTermination | None) -> Problem:
    """The problem of all rows, with the one row that stands for them in their place; it has no limits yet."""
    made = passes.run(_BOUND, (model, algorithm, termination))
    data, weights = passes.row()
    return dataclasses.replace(made, data=data, weights=weights)


def lifted(passes: Passes, problem: Problem, params: PyTree) -> PyTree:
    """Parameters of several starts, in the coordinates of the model that `problem` has posteriors of, as such."""
    return passes.run(_LIFTED, problem, params)


@final
class OverPasses(AbstractRunner):
    """A round is an iteration: a pass, which serves all lanes. A batch has `batch_rows`, all of them `rows`."""

    round_steps = 1

    def __init__(self, passes: Passes, batch_rows: int, rows: int, on_step: Callable[[State], None]):
        self.passes, self.batch_rows, self.rows, self.on_step = passes, batch_rows, rows, on_step
        self.together = passes.together

    def advance(self, problem, lanes, age, runs):
        moves = _moved(problem, lanes)
        evaluated = _EVALUATED_FEW if few_products(self.batch_rows, lanes) else _EVALUATED_MANY
        sums = self.passes.sums(evaluated, (), problem, (lanes, moves))
        settled = _settled(problem, lanes, moves, sums)
        self.on_step(settled)
        return Call(lambda: settled)

    def accurate(self, problem):
        found = self.passes.run(_ACCURATE, problem)
        return dataclasses.replace(found, data=problem.data, weights=problem.weights)

    def finish(self, problem, state):
        evaluated = not state.fresh and isinstance(problem.algorithm.record, Last)
        if (
            evaluated
            and np.isfinite(state.iterate.objective)
            and _FINISHED.num_passes(self.passes.row(), problem, state) == 1
        ):
            return _FINISHED.result((_log_likelihood(problem, state),), self.passes.row(), problem, state)
        return self.passes.run(_FINISHED, problem, state)

    def num_rows(self, problem):
        return self.rows


@final
class OverBatches(AbstractRunner):
    """A round is a pass over so many batches, with a step of all lanes after each: incremental EM.

    Batches are the same ones in every pass, in the same order. `over` is the runner of what looks at all rows.
    """

    def __init__(self, over: OverPasses, batches: int):
        self.over, self.round_steps = over, batches

    def advance(self, problem, lanes, age, runs):
        stepped = _STEPPED_FEW if few_products(self.over.batch_rows, lanes) else _STEPPED_MANY
        for rows in self.over.passes.each():
            before, lanes = lanes, stepped(problem, rows, lanes)
            jax.block_until_ready(before)  # no more than two batches are held
            self.over.on_step(lanes)
        return Call(lambda: lanes)

    def accurate(self, problem):
        return self.over.accurate(problem)

    def finish(self, problem, state):
        return self.over.passes.run(_FINISHED, problem, state)

    def num_rows(self, problem):
        return self.over.num_rows(problem)


def _with(problem: Problem, rows: Rows | None, reduce: Reduce) -> Problem:
    """The problem, whose sums over rows are taken by `reduce`."""
    data, weights = (problem.data, problem.weights) if rows is None else rows
    return dataclasses.replace(problem, data=data, weights=weights, reduce=reduce)


def _without_rows(problem: Problem) -> Problem:
    return dataclasses.replace(problem, data=None, weights=None, reduce=unreduced)  # pyright: ignore[reportArgumentType]


def _bind(reduce: Reduce, rows: Rows, shared: Any, each: tuple[()]) -> Problem:
    model, algorithm, termination = shared
    made = model.bind(*rows, reduce)
    limits: Any = {"tol": 0.0, "max_steps": 0, "termination": termination}
    return _without_rows(Problem.make(made, algorithm, *rows, reduce=reduce, **limits))


def _lift(reduce: Reduce, rows: Rows, problem: Any, params: PyTree) -> PyTree:
    return problem.model.lift(params, *rows, reduce)


def _evaluate(reduce: Reduce, rows: Rows, problem: Problem, each: tuple[State, Move]) -> Found:
    return look(_with(problem, rows, reduce), *each)


def _on_accurate_kernel(reduce: Reduce, rows: Rows, problem: Problem, each: tuple[()]) -> Problem | None:
    found = on_accurate_kernel(_with(problem, rows, reduce))
    return None if found is None else _without_rows(found)


def _finish(reduce: Reduce, rows: Rows, problem: Problem, state: State) -> Fit:
    return finish(_with(problem, rows, reduce), state)


_BOUND, _ACCURATE, _FINISHED = Staged(_bind), Staged(_on_accurate_kernel), Staged(_finish)
_LIFTED = Staged(_lift, lanes=True)
_EVALUATED_FEW = Staged(_evaluate, lanes=True)
_EVALUATED_MANY = Staged(_evaluate, lanes=True, quickly=False)


@program(quickly=True)
def _moved(problem: Problem, lanes: State) -> Move:
    """Where every lane goes next."""
    return eqx.filter_vmap(partial(_next, problem))(lanes)


def _next(problem: Problem, state: State) -> Move:
    reduce = partial(_refuse, type(problem.algorithm.m_step).__name__)
    return next_move(_with(problem, None, reduce), state)._replace(back=None)


def _stepped(problem: Problem, rows: Rows, lanes: State) -> State:
    """The lanes after a step that looks at these rows alone; those that have ended stay."""

    def one(state: State) -> State:
        move = _next(problem, state)
        found = look(_with(problem, rows, unreduced), state, move)
        return choose(state.status == Status.running, settle(problem, state, move, found), state)

    return eqx.filter_vmap(one)(lanes)


_STEPPED_FEW, _STEPPED_MANY = Program(_stepped, quickly=True, level=1), Program(_stepped)


@program(quickly=True)
def _settled(problem: Problem, lanes: State, moves: Move, sums: PyTree) -> State:
    """The lanes after a step, for which the rows of all batches gave these sums; those that have ended stay."""

    def one(state: State, move: Move, sums: PyTree) -> State:
        found = look(_with(problem, None, Known((sums,))), state, move)
        if problem.algorithm.accelerator is not None:
            move = move._replace(back=coordinates(problem, state.iterate.params)[1])
        return choose(state.status == Status.running, settle(problem, state, move, found), state)

    return eqx.filter_vmap(one)(lanes, moves, sums)


@program(quickly=True)
def _log_likelihood(problem: Problem, state: State) -> PyTree:
    """The sum that `finish` asks for, of a run whose objective is that of its last evaluation."""
    prior = problem.model.log_prior(state.iterate.params).astype(problem.dtype)
    return (), state.iterate.objective - prior - problem.base


def _refuse(name: str, tree: PyTree) -> PyTree:
    raise MissingCapabilityError(
        f"{name} looks at the rows themselves in its M-step, and a stream has statistics of them alone; use an "
        "algorithm whose M-step works on these, such as jaxem.em(), or jaxem.fit"
    )
