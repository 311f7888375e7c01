"""What becomes of the starts of a fit: rounds, racing, the accurate kernel, the best run and a record of all."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxem._bound import rows_per_chunk
from jaxem._errors import FitError
from jaxem._solve import Fit, finish
from jaxem._status import Status, status_code, status_from_code, status_name
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.programs import Program, worth_preparing
from jaxem.engine.restarts import Layout, Outcome, Pool, few_products, prepare, saved_blocks
from jaxem.engine.state import State
from jaxem.record import Progress, Restarts
from jaxem.termination import Racing

ROUND_STEPS = 8

_finish = Program(finish, quickly=True)
_on_accurate_kernel = Program(on_accurate_kernel, quickly=True)


class Best(NamedTuple):
    """The best run so far, with its state and the problem that it ran on."""

    outcome: Outcome
    state: State
    problem: Problem | Many


class Search:
    """Keeps the best run and a record of all: of each of several `models`, whose starts follow one another."""

    def __init__(self, problem: Problem | Many, layout: Layout, total: int, progress: Any, models: int = 1):
        self.problem, self.layout, self.total, self.each = problem, layout, total, total // models
        self.report = _printer() if progress is True else progress
        self.objective = np.full(total, np.nan)
        self.code = np.full(total, int(status_code(Status.running)))
        self.num_steps = np.zeros(total, np.int64)
        self.best: list[Best | None] = [None] * models
        self.histories: dict[int, list[np.ndarray]] = {}
        self.done = self.rounds = self.steps = 0

    def prepare(self, draw: partial, key: PRNGKeyArray) -> None:
        """Begin to compile all that a search will call, unless that has been done."""
        if worth_preparing(self.problem, draw.args, key, self.layout.lanes):
            state = prepare(self.problem, draw, key, self.layout, self.total, ROUND_STEPS)
            if not isinstance(self.problem, Many):
                _finish.begin_compiling(self.problem, state)

    def run(self, parts: Any, problem: Problem | Many | None = None) -> None:
        """Every start to its end; those that lack accuracy once more, on the accurate kernel."""
        problem = problem or self.problem
        slower, aside = problem.model.accurate() is not None, []
        for outcome in self.pool(problem).run(parts, self.histories):
            if slower and outcome.code == _INACCURATE:
                self.histories[outcome.start] = outcome.history
                aside.append((outcome.start, outcome.state()))
            else:
                self.record(outcome, problem)
        if aside:
            accurate: Any = problem.on_accurate_kernel() if isinstance(problem, Many) else _on_accurate_kernel(problem)
            size = self.layout.lanes
            if not few_products(problem, aside[0][1], size):  # else idle lanes cost less than another compilation
                size = min(size, 2 ** (len(aside) - 1).bit_length())
            rows = rows_per_chunk(accurate.model, aside[0][1].iterate.params, problem.num_rows, size, accurate.block)
            accurate = accurate.in_chunks(rows)
            parts = saved_blocks(accurate, aside, Layout(size, self.layout.groups))
            for outcome in self.pool(accurate, size).run(parts, self.histories):
                self.record(outcome, accurate)
        self.tell(0)

    def race(self, racing: Racing, parts: Any) -> None:
        """Successive halving, then the finalists to the end."""
        most, steps = self.problem.max_steps, racing.steps
        left = self.total
        while left > racing.finalists:
            stage = eqx.tree_at(lambda p: p.max_steps, self.problem, jnp.minimum(most, steps))
            held = []
            for outcome in self.pool(stage).run(parts, self.histories):
                undecided = outcome.code in _UNDECIDED and outcome.num_steps < int(most)
                if (undecided and outcome.num_steps >= int(stage.max_steps)) or outcome.code == _INACCURATE:
                    self.histories[outcome.start] = outcome.history
                    held.append((outcome, outcome.state()))
                else:
                    self.record(outcome, self.problem)
            held.sort(key=lambda pair: (-pair[0].objective, pair[0].start))
            keep = max(math.ceil(racing.keep * left), 1)
            for outcome, _ in held[keep:]:
                self.histories.pop(outcome.start)
                self.note(outcome.start, int(status_code(Status.eliminated)), outcome.objective, outcome.num_steps)
            going = [
                (outcome.start, state if outcome.code == _INACCURATE else state._replace(status=_running(state)))
                for outcome, state in held[:keep]
            ]
            left, steps = len(going), steps * racing.growth
            parts = saved_blocks(None, going, self.layout)
            if not going:
                return self.tell(0)
        self.run(parts)

    def pool(self, problem: Problem | Many, size: int | None = None) -> Pool:
        return Pool(problem, size or self.layout.lanes, ROUND_STEPS, self.after_round)

    def after_round(self, running: int, steps: int) -> None:
        self.rounds, self.steps = self.rounds + 1, self.steps + steps
        self.tell(running)

    def tell(self, running: int) -> None:
        """Report how far the search is."""
        if self.report:
            highest = max((best.outcome.objective for best in self.best if best), default=-math.inf)
            self.report(Progress(self.done, self.total, running, self.rounds, self.steps, highest))

    def note(self, start: int, code: int, objective: float, num_steps: int) -> None:
        self.code[start], self.objective[start], self.num_steps[start] = code, objective, num_steps
        self.done += 1

    def record(self, outcome: Outcome, problem: Problem | Many) -> None:
        self.note(outcome.start, outcome.code, outcome.objective, outcome.num_steps)
        model = outcome.start // self.each
        best = self.best[model]
        if best is None or _better(outcome, best.outcome, problem.dtype):
            self.best[model] = Best(outcome, outcome.state(), problem)

    def result(self, throw: bool, model: int = 0) -> Fit:
        """The best run of a model, and a record of all of them; `FitError` if all failed, and `throw`."""
        best = self.best[model]
        assert best is not None
        own = slice(model * self.each, (model + 1) * self.each)
        codes, objectives, num_steps = self.code[own], self.objective[own], self.num_steps[own]
        failed = np.isin(codes, (int(status_code(Status.not_finite)), _INACCURATE))
        # EM never falls from where it can be: a fall at once says that the start was no such place.
        failed |= (codes == int(status_code(Status.objective_decreased))) & (num_steps <= 1)
        if throw and failed.all():
            reasons = {name: int(np.sum(np.asarray(status_name(status_from_code(codes))) == name)) for name in _NAMES}
            counts = ", ".join(f"{count} {name}" for name, count in reasons.items() if count)
            raise FitError(f"all {self.each} starts failed ({counts}): {Status[best.state.status]}")
        fit = _finish(best.problem, best.state)
        dtype = fit.objective.dtype
        history = np.concatenate(best.outcome.history) if best.outcome.history else np.zeros(0)
        code = jnp.asarray(codes, jnp.int32)
        record = Restarts(jnp.asarray(objectives, dtype), status_from_code(code), jnp.asarray(num_steps, jnp.int32))
        return dataclasses.replace(fit, history=jnp.asarray(history, dtype), restarts=record)


_INACCURATE = int(status_code(Status.inaccurate))
_UNDECIDED = (int(status_code(Status.max_steps_reached)), int(status_code(Status.completed)))
_NAMES = ("not_finite", "inaccurate", "objective_decreased")
# Outcomes from the most to the least trustworthy; any other is as good as converged.
_RANK = {
    int(status_code(Status.objective_decreased)): 1,
    int(status_code(Status.degenerate_component)): 2,
    _INACCURATE: 3,
    int(status_code(Status.not_finite)): 4,
}


def _better(new: Outcome, old: Outcome, dtype: Any) -> bool:
    ranks = _RANK.get(new.code, 0), _RANK.get(old.code, 0)
    if ranks[0] != ranks[1]:
        return ranks[0] < ranks[1]
    if not math.isfinite(old.objective) or not math.isfinite(new.objective):
        return math.isfinite(new.objective) > math.isfinite(old.objective)
    slack = 100 * float(jnp.finfo(dtype).eps) * abs(old.objective)
    if abs(new.objective - old.objective) <= slack:
        return new.start < old.start
    return new.objective > old.objective


def _running(state: State) -> Any:
    return status_from_code(jnp.full_like(status_code(state.status), int(status_code(Status.running))))


def _printer() -> Callable[[Progress], None]:
    import sys

    def show(p: Progress) -> None:
        end = "\n" if p.done == p.total and p.running == 0 else ""
        sys.stderr.write(f"\r{p.done}/{p.total} starts, {p.steps} steps, best {p.best:.6g}{end}")
        sys.stderr.flush()

    return show
