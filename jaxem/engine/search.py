"""What becomes of the starts of a fit: rounds, racing, the accurate kernel, the best run and a record of all."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from jaxem._bound import rows_per_chunk
from jaxem._errors import FitError
from jaxem._solve import Fit
from jaxem._status import Status, status_code, status_from_code, status_name
from jaxem.engine.checkpoint import Part
from jaxem.engine.lane import Lane
from jaxem.engine.lanes import Blocks, Layout, few_products, fresh_blocks, prepare, saved_blocks
from jaxem.engine.many import Many
from jaxem.engine.pool import GroupState, Outcome, Pool
from jaxem.engine.problem import Problem
from jaxem.engine.processes import any_of, is_shared
from jaxem.engine.programs import worth_preparing
from jaxem.engine.runner import AbstractRunner, AtHand, finished
from jaxem.engine.snapshot import Aside, Best, Stage, first_stage, restore, snapshot
from jaxem.engine.state import State
from jaxem.engine.stop import Stop
from jaxem.kernels.devices import sizes
from jaxem.record import Progress, Restarts
from jaxem.termination import Racing


class Search:
    """Keeps the best run and a record of all: of each of several `models`, whose starts follow one another.

    `stop` says when to end early; to `place` the search is written on its way, and from there it goes on.
    """

    def __init__(
        self,
        problem: Problem | Many,
        layout: Layout,
        total: int,
        progress: Any,
        models: int = 1,
        stop: Stop | None = None,
        place: Part | None = None,
        runner: AbstractRunner | None = None,
    ):
        self.runner = runner or AtHand.over(problem, layout.lanes)
        self.problem, self.layout, self.total, self.each = problem, layout, total, total // models
        self.report = _printer() if progress is True else progress
        self.stop, self.place, self.stopped = stop or Stop(), place, False
        self.objective = np.full(total, np.nan)
        self.code = np.full(total, int(status_code(Status.running)))
        self.num_steps = np.zeros(total, np.int64)
        self.best: list[Best | None] = [None] * models
        self.histories: dict[int, list[np.ndarray]] = {}
        self.aside: list[Aside] = []
        self.stage: Stage | None = None
        self.accurate_lanes = 0  # of each group on the accurate kernel, once there is one
        self.done = self.rounds = self.steps = 0
        self.groups: list[GroupState | None] | None = None  # to go on from
        self._pool: Pool | None = None
        self._accurate: Any = None
        self._shared = (
            is_shared(problem) or self.runner.together
        )  # what ends a search in one process has to end it in all

    def prepare(self, draw: partial, key: PRNGKeyArray, racing: Racing | None = None) -> None:
        """Begin to compile all that a search will call, unless that has been done."""
        if worth_preparing(self.problem, draw.args, key, self.layout.lanes):
            layout, row = self.lanes_of(first_stage(racing, self.each))
            state = prepare(self.problem, draw, key, layout, self.total, self.runner.round_steps, in_order=row > 1)
            if not isinstance(self.problem, Many):
                finished.begin_compiling(self.problem, state)

    def run(self, draw: Callable, key: PRNGKeyArray, racing: Racing | None = None) -> None:
        """Every start to its end, after a race if there is one; those that lack accuracy once more."""
        if self.place is None or self.place.saved is None:
            self.stage = first_stage(racing, self.each)
        else:
            restore(self, self.place.saved, draw, key)
        while self.stage is not None:
            layout, row = self.lanes_of(self.stage)
            problem, blocks = self.set_up(self.stage, layout, draw)
            runs = len(self.starts_of(self.stage))
            self._pool = Pool(problem, layout.lanes, runs, self.runner, self.after_round, self.at_turn, row)
            saved, self.groups = self.groups, None
            wanted = self.wanted(self.stage, problem)
            for outcome in self._pool.run(blocks, self.histories, saved):
                if wanted(outcome):
                    self.histories[outcome.start] = outcome.history
                    self.aside.append(Aside(*outcome.told(), outcome.lane.set_aside()))
                else:
                    self.record(outcome, self.stage.kind == "accurate")
            self.stage = None if self.stopped else self.next_stage(self.stage, racing)
        if self.place is not None and not self.stopped:
            self.place.write(snapshot(self, []), self.rounds)
        if self.stopped:
            for one in self.aside:
                code = _INACCURATE if one.code == _INACCURATE else int(status_code(Status.stopped))
                told = (one.start, code, one.objective, one.num_steps)
                ended = Outcome(*told, self.histories.pop(one.start), one.lane)
                self.record(ended, accurate=False)
        self.tell(0)

    def starts_of(self, stage: Stage) -> Sequence[int]:
        """The numbers of the starts that run in a stage."""
        if stage.going is not None:
            return [start for start, _ in stage.going]
        return range(self.total) if stage.fresh is None else stage.fresh

    def lanes_of(self, stage: Stage) -> tuple[Layout, int]:
        """The lanes of a stage, and how many in a row are given starts of one problem together.

        That is so in the first round of a race, in which all make as many steps. Of starts that share their data more
        go side by side.
        """
        if stage.kind == "accurate":
            return Layout(self.accurate_lanes, self.layout.groups), 1
        if stage.kind == "run" or stage.going is not None or not isinstance(self.problem, Many):
            return self.layout, 1
        row, (lanes, groups) = self.problem.in_a_row, self.layout
        if row <= sizes().lanes:
            lanes = -(-lanes // row) * row
        return Layout(lanes, groups), math.gcd(lanes, row)

    def set_up(self, stage: Stage, layout: Layout, draw: Callable) -> tuple[Problem | Many, list[Blocks]]:
        """The problem of a stage, and what fills the lanes of its groups."""
        problem = self.problem
        if stage.kind == "accurate":
            assert stage.going is not None
            problem = self.on_accurate_kernel(stage.going[0][1].state())
            return problem, saved_blocks(problem, stage.going, layout)
        if stage.kind == "race":
            problem = eqx.tree_at(lambda p: p.max_steps, problem, jnp.minimum(problem.max_steps, stage.steps))
        if stage.going is None:
            history = self.runner.round_steps + 1
            starts = self.starts_of(stage)
            return problem, fresh_blocks(problem, draw, starts, layout, history, self.begins)
        return problem, saved_blocks(None, stage.going, layout)

    def wanted(self, stage: Stage, problem: Problem | Many) -> Callable[[Outcome], bool]:
        """What says of a run that ended in a stage whether it goes on in the next one."""
        most, last = int(problem.max_steps), int(self.problem.max_steps)
        if stage.kind == "race":
            return lambda run: run.code == _INACCURATE or (run.code in _UNDECIDED and most <= run.num_steps < last)
        again = stage.kind == "run" and self.problem.model.accurate() is not None
        return lambda run: again and run.code == _INACCURATE

    def next_stage(self, stage: Stage, racing: Racing | None) -> Stage | None:
        """What follows, with the runs that were set aside."""
        aside, self.aside = self.aside, []
        if stage.kind == "race":
            assert racing is not None
            going = self.decide(aside, self.of_models(self.starts_of(stage)), racing)
            if not going:
                return None
            race = self.of_models([start for start, _ in going]).max() > racing.finalists
            return Stage("race", going, stage.steps * racing.growth) if race else Stage("run", going)
        if not aside:
            return None
        most, wanted = self.layout.lanes, -(-len(aside) // self.layout.groups)
        if few_products(self.runner.num_rows(self.problem), aside[0].lane.state(), most):
            # Idle lanes cost less than another compilation, and a few of them next to nothing.
            size = _FEW_LANES if wanted <= _FEW_LANES else most
        else:
            size = 2 ** (wanted - 1).bit_length()
        self.accurate_lanes = min(size, most)
        return Stage("accurate", [(one.start, one.lane) for one in aside])

    def of_models(self, starts: Sequence[int]) -> np.ndarray:
        """How many of these starts each model has."""
        return np.bincount(np.asarray(starts) // self.each, minlength=len(self.best))

    def decide(self, held: list[Aside], left: np.ndarray, racing: Racing) -> list[tuple[int, Lane]]:
        """The best of the runs that a race held up, ready to go on; the others are eliminated.

        That is a fraction of the starts that each model had `left`, at least one; all of them where these are
        finalists, and others race on.
        """
        taken, going = np.zeros(len(left), int), []
        most = np.where(left > racing.finalists, np.maximum(np.ceil(racing.keep * left), 1), left)
        for one in sorted(held, key=lambda one: (-one.objective, one.start)):
            model = one.start // self.each
            if taken[model] == most[model]:
                self.histories.pop(one.start)
                self.note(one.start, int(status_code(Status.eliminated)), one.objective, one.num_steps)
                continue
            taken[model] += 1
            going.append((one.start, one.lane))
        # Runs of one model side by side, on the same data.
        return sorted(going, key=lambda one: one[0] // self.each)

    def on_accurate_kernel(self, state: State) -> Any:
        """The problem on the accurate kernel, for runs with states such as this."""
        if self._accurate is None:
            problem, lanes = self.problem, self.accurate_lanes
            accurate = self.runner.accurate(problem)
            rows = rows_per_chunk(accurate.model, state.iterate.params, problem.num_rows, lanes, accurate.block)
            self._accurate = accurate.in_chunks(rows)
        return self._accurate

    def problem_of(self, best: Best) -> Any:
        """The problem that a run was of."""
        return self.on_accurate_kernel(best.state) if best.accurate else self.problem

    def begins(self, first: int) -> bool:
        """Whether starts from this number on are begun; the first two models have theirs in any case."""
        return first < 2 * self.each or not self.stop.drains

    def at_turn(self) -> bool:
        """Write the search down if it is time; whether it is to end now."""
        stop, due = self.stop.now, self.place is not None and self.place.due(self.rounds)
        if self._shared:
            stop, due = any_of(stop, due)
        self.stopped = stop and self.rounds > 0
        if self.place is not None and (self.stopped or due):
            assert self._pool is not None
            self.place.write(snapshot(self, self._pool.states()), self.rounds)
        return self.stopped

    def after_round(self, running: int, steps: int) -> None:
        self.rounds, self.steps = self.rounds + 1, self.steps + steps
        self.tell(running)

    def tell(self, running: int) -> None:
        """Report how far the search is."""
        if self.report:
            best = max((one for one in self.best if one), key=lambda one: one.outcome.objective, default=None)
            reached, state = (-math.inf, None) if self._pool is None else self._pool.leader()
            highest = -math.inf if best is None else best.outcome.objective
            if best is not None and not reached > highest:
                ahead = lambda: (self.problem_of(best), best.state)  # noqa: E731
            else:
                assert state is not None
                assert self._pool is not None
                problem = self._pool.problem
                ahead = lambda: (problem, state())  # noqa: E731
            leading = max(reached, highest)
            of_best = _params(self.runner, ahead, of_one=not isinstance(self.problem, Many) and len(self.best) == 1)
            told = Progress(self.done, self.total, running, self.rounds, self.steps, highest, leading, of_best)
            if self.report(told) is True:
                self.stop.asked = True

    def note(self, start: int, code: int, objective: float, num_steps: int) -> None:
        self.code[start], self.objective[start], self.num_steps[start] = code, objective, num_steps
        self.done += 1

    def record(self, outcome: Outcome, accurate: bool) -> None:
        """Note a run that has ended, and keep its state if there is no better one."""
        self.note(outcome.start, outcome.code, outcome.objective, outcome.num_steps)
        model = outcome.start // self.each
        best = self.best[model]
        if best is None or _better(outcome, best.outcome, self.problem.dtype):
            self.best[model] = Best(dataclasses.replace(outcome, lane=outcome.lane.by_itself()), accurate)

    def result(self, throw: bool, model: int = 0) -> Fit:
        """The best run of a model, and a record of all of them; `FitError` if all failed, and `throw`."""
        best = self.best[model]
        if best is None:
            raise FitError("stopped before any start was run")
        own = slice(model * self.each, (model + 1) * self.each)
        codes, objectives, num_steps = self.code[own], self.objective[own], self.num_steps[own]
        failed = np.isin(codes, (int(status_code(Status.not_finite)), _INACCURATE))
        # EM never falls from where it can be: a fall at once says that the start was no such place.
        failed |= (codes == int(status_code(Status.objective_decreased))) & (num_steps <= 1)
        if throw and failed.all():
            reasons = {name: int(np.sum(np.asarray(status_name(status_from_code(codes))) == name)) for name in _NAMES}
            counts = ", ".join(f"{count} {name}" for name, count in reasons.items() if count)
            raise FitError(f"all {self.each} starts failed ({counts}): {Status[best.state.status]}")
        fit = self.runner.finish(self.problem_of(best), best.state)
        dtype = fit.objective.dtype
        history = np.concatenate(best.outcome.history) if best.outcome.history else np.zeros(0)
        told = objectives.astype(dtype), self.told(codes).astype(np.int32), num_steps.astype(np.int32)
        objectives, codes, num_steps, history = jax.device_put((*told, history.astype(dtype)))
        record = Restarts(objectives, status_from_code(codes), num_steps)
        status = Status.stopped if self.stopped else fit.status
        return dataclasses.replace(fit, status=status, history=history, restarts=record)

    def told(self, codes: np.ndarray) -> np.ndarray:
        """Codes of runs, with `stopped` for those that were never begun."""
        return np.where(codes == int(status_code(Status.running)), int(status_code(Status.stopped)), codes)


_FEW_LANES = 8  # of each group on the accurate kernel, where no more are needed
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


def _params(runner: AbstractRunner, ahead: Callable[[], tuple[Any, State]], of_one: bool) -> Callable[[], Any]:
    """What asks for the parameters of a run; they are `None` where runs are of several models."""
    return lambda: runner.finish(*ahead()).params if of_one else None


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


def _printer() -> Callable[[Progress], None]:
    import sys

    def show(p: Progress) -> None:
        end = "\n" if p.done == p.total and p.running == 0 else ""
        sys.stderr.write(f"\r{p.done}/{p.total} starts, {p.steps} steps, best {p.best:.6g}{end}")
        sys.stderr.flush()

    return show
