"""Lanes that advance a round at a time and are refilled as they finish, in groups that advance side by side."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxem._status import Status, status_code
from jaxem.engine.lane import Lane, apart, refill, take
from jaxem.engine.lanes import COMPILATION_PRODUCTS, Block, Blocks, num_products, threads, with_nothing_to_do
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.processes import whole
from jaxem.engine.state import State


@dataclasses.dataclass
class Outcome:
    """A run that has ended."""

    start: int
    code: int
    objective: float
    num_steps: int
    history: list[np.ndarray]
    lane: Lane  # its final state

    def told(self) -> tuple[int, int, float, int]:
        """All but arrays."""
        return self.start, self.code, self.objective, self.num_steps


class GroupState(NamedTuple):
    """What a group goes on from: its lanes as they begin a round, and where it is in its blocks."""

    lanes: State
    owner: np.ndarray
    last: np.ndarray
    taken: int
    position: int


class Pool:
    """Lanes that advance together, a round of the `runner` at a time: `size` of them in each of several groups.

    A lane that ends is given the next start of its group, so that lockstep wastes at most a round per start. Once no
    start is left to give, the last runs are packed into a quarter of the lanes, if the work that saves outweighs one
    more compilation. Starts are independent: their results do not depend on the number of lanes but through the
    rounding of the matrix products.

    Groups advance side by side, each on a thread of its own, while this one looks after those that have ended a round.
    They take turns, whichever ends first, and each has starts of its own: the same call does the same arithmetic.

    With an `in_a_row` above 1 so many lanes in a row are given starts of one problem, in their order, once all of them
    have ended.
    """

    def __init__(
        self,
        problem: Problem | Many,
        size: int,
        runs: int,
        runner: Any,
        on_round: Callable[[int, int], None],
        on_turn: Callable[[], bool],
        in_a_row: int = 1,
    ):
        self.problem, self.size, self.runs, self.runner, self.in_a_row = problem, size, runs, runner, in_a_row
        self.on_round, self.on_turn = on_round, on_turn
        self.groups: list[_Group] = []

    def run(
        self,
        parts: Sequence[Blocks],
        histories: dict[int, list[np.ndarray]],
        saved: Sequence[GroupState | None] | None = None,
    ) -> Iterator[Outcome]:
        """Runs every start in `parts`, the blocks of each group, yielding each as it ends.

        Goes on from what `saved` has of each group. `on_round` hears how many lanes are running and how many steps a
        round took; once `on_turn` says so, every group ends its round, and what is running then ends as `stopped`.
        """
        self.groups = [_Group(self, blocks, histories, threaded=len(parts) > 1) for blocks in parts]
        if saved is None:
            going = [group for group in self.groups if group.begin_round()]
        else:
            going = [group for group, state in zip(self.groups, saved, strict=True) if group.go_on(state)]
        while going:
            last = self.on_turn()
            for group in going:
                steps, outcomes = group.end_round()
                self.on_round(sum(one.running for one in self.groups), steps)
                yield from outcomes
                if last:
                    yield from group.stop()
                else:
                    group.begin_round()
            going = [group for group in going if group.running]

    def states(self) -> list[GroupState | None]:
        """Of each group, what it can go on from; `None` for one that has nothing left to do."""
        return [group.state() if group.running else None for group in self.groups]

    def leader(self) -> tuple[float, Callable[[], State]]:
        """The highest objective that a running lane has reached, minus infinity if there is none, and its state."""
        best = max(self.groups, key=lambda group: group.reached.max())
        lanes, lane = best.lanes, int(best.reached.argmax())
        return float(best.reached[lane]), partial(take, lanes, np.asarray(lane, np.int32))

    def worth_packing(self, lanes: State, size: int) -> bool:
        """Whether lanes that idle for some fifty more iterations cost more than a compilation.

        Decided on sizes alone, not on the clock, so that the same call always does the same arithmetic.
        """
        products = num_products(self.runner.num_rows(self.problem), lanes)
        return 50 * (size - size // 4) * (products // size) > COMPILATION_PRODUCTS


class _Group:
    """Lanes that advance together, the starts that own them, and those that wait for one."""

    def __init__(
        self,
        pool: Pool,
        blocks: Blocks,
        histories: dict[int, list[np.ndarray]],
        threaded: bool,
    ):
        self.pool, self.blocks, self.histories, self.threaded = pool, blocks, histories, threaded
        self.block: Block | None = None
        self.lanes: Any = None
        self.taken = self.position = 0  # blocks, and starts of the last one
        # The start in each lane, -1 for none, how many of its steps have been noted, and the objective after them.
        self.owner, self.last = np.full(pool.size, -1), np.full(pool.size, -1)
        self.reached = np.full(pool.size, -np.inf)
        self.advanced: Callable[[], State]
        self.ended: tuple[np.ndarray, np.ndarray, np.ndarray]  # status, objective and steps after the last round

    @property
    def running(self) -> int:
        return int((self.owner >= 0).sum())

    def begin_round(self) -> bool:
        """Fill the lanes that are free and advance all; false once there is nothing to advance."""
        self.fill()
        if not self.running:
            return False
        size = len(self.owner)
        if 4 * self.running <= size and self.pool.in_a_row == 1 and self.pool.worth_packing(self.lanes, size):
            self.pack(size // 4)
        self.advance()
        return True

    def go_on(self, state: GroupState | None) -> bool:
        """Advance what was saved as it began a round."""
        if state is None:
            return False
        self.lanes, self.owner, self.last, self.taken, self.position = state
        self.reached = np.full(len(self.owner), -np.inf)
        if self.taken:
            self.block = self.blocks(self.taken - 1)
        self.advance()
        return True

    def state(self) -> GroupState:
        """The lanes as they began the round, and where the group is in its blocks."""
        return GroupState(self.lanes, self.owner, self.last, self.taken, self.position)

    def advance(self) -> None:
        """Begin to advance all lanes."""
        age = float(np.mean(self.last[self.owner >= 0]))
        problem = self.pool.problem
        own = (problem.of_starts if self.pool.in_a_row == 1 else problem.of_starts_in_order)(self.owner)
        call = self.pool.runner.advance(own, self.lanes, age, self.pool.runs)
        if self.threaded and call.in_any_thread:
            self.advanced = threads().submit(lambda: jax.block_until_ready(call())).result
        else:
            lanes = call()
            self.advanced = lambda: lanes

    def fill(self) -> None:
        """Give the lanes that are free the next starts."""
        idle, size = (self.owner < 0).reshape(-1, self.pool.in_a_row), len(self.owner)
        free = np.flatnonzero(np.repeat(idle.all(axis=1), self.pool.in_a_row))
        self.reached[free] = -np.inf
        while len(free):
            if self.block is None or self.position == len(self.block.starts):
                following = self.blocks(self.taken)
                if following is None:
                    return
                self.block, self.taken, self.position = following, self.taken + 1, 0
            count = min(len(free), len(self.block.starts) - self.position)
            source = np.full(size, -1, np.int32)
            source[free[:count]] = np.arange(self.position, self.position + count)
            if count == size:
                self.lanes = self.block.lanes
            else:
                lanes = with_nothing_to_do(self.block.lanes) if self.lanes is None else self.lanes
                self.lanes = refill(lanes, self.block.lanes, source)
            starts = self.block.starts[self.position : self.position + count]
            self.owner[free[:count]] = starts
            self.last[free[:count]] = [sum(len(h) for h in self.histories.get(i, [])) - 1 for i in starts]
            self.position += count
            free = free[count:]

    def pack(self, size: int) -> None:
        """The lanes that are running in so many."""
        running = np.flatnonzero(self.owner >= 0)
        kept = np.resize(running, size)
        self.lanes = take(self.lanes, kept.astype(np.int32))
        self.owner, self.last, self.reached = self.owner[kept], self.last[kept], self.reached[kept]
        self.owner[len(running) :] = -1

    def end_round(self) -> tuple[int, list[Outcome]]:
        """Wait for the round to end: how many steps it took in all, and the runs that ended."""
        self.lanes = lanes = self.advanced()
        looked_at = status_code(lanes.status), lanes.iterate.objective, lanes.num_steps, lanes.history
        code, objective, num_steps, ring = jax.device_get(whole(looked_at))
        self.ended = code, objective, num_steps
        used, finite, last = self.owner >= 0, np.isfinite(objective), self.last
        self.reached = np.where(used & finite, objective, -np.inf)
        self.last = done = np.where(used & finite, num_steps, last)
        size = ring.shape[1]
        # The objective after the last step that was noted, and after those since.
        since = np.take_along_axis(ring, (last[:, None] + np.arange(size)) % size, 1)
        lanes = np.flatnonzero(used)
        for lane, start, before, count in zip(
            lanes.tolist(), self.owner[lanes].tolist(), last[lanes].tolist(), (done - last)[lanes].tolist(), strict=True
        ):
            noted = self.histories.setdefault(start, [])
            if noted and before >= 0:  # a step may have been taken back since
                noted[-1][-1] = since[lane, 0]
            if count > 0:
                noted.append(since[lane, 1 : count + 1])
        steps = int((done.clip(0) - last.clip(0))[lanes].sum())
        return steps, self.outcomes(np.flatnonzero(used & (code != int(status_code(Status.running)))), code)

    def stop(self) -> list[Outcome]:
        """What is still running, as it is."""
        lanes = np.flatnonzero(self.owner >= 0)
        return self.outcomes(lanes, np.full(self.owner.shape, int(status_code(Status.stopped))))

    def outcomes(self, ended: np.ndarray, code: np.ndarray) -> list[Outcome]:
        """The runs in some lanes as ones that have ended; the lanes are free."""
        starts, (_, objective, num_steps) = self.owner[ended].tolist(), self.ended
        self.owner[ended], self.reached[ended] = -1, -np.inf
        return [
            Outcome(start, int(code[i]), float(objective[i]), int(num_steps[i]), self.histories.pop(start), lane)
            for i, start, lane in zip(ended.tolist(), starts, apart(self.lanes, ended), strict=True)
        ]
