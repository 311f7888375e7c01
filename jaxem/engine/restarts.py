"""Many runs at once: lanes of one compiled program, refilled as they finish."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._status import Status, status_code, status_from_code
from jaxem.engine.loop import resume, run
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.programs import Program, blank, may_be_kept, program
from jaxem.engine.state import State, begin
from jaxem.kernels.linalg import trailing

MOST_GROUPS = 4  # of lanes that advance side by side; one thread looks after all
COMPILATION_PRODUCTS = 1e11  # what a few seconds of compiling would have bought
FEW_PRODUCTS = 2**21  # what takes less than a millisecond or so


class Layout(NamedTuple):
    """How many runs go side by side: `groups` of `lanes` each."""

    lanes: int
    groups: int = 1


@dataclasses.dataclass
class Outcome:
    """A run that has ended."""

    start: int
    code: int
    objective: float
    num_steps: int
    history: list[np.ndarray]
    lanes: State
    lane: int

    def state(self) -> State:
        """Its final state."""
        return _take(self.lanes, np.asarray(self.lane, np.int32))


@program(quickly=True)
def _begin(problem: Problem | Many, params: PyTree, keys: PRNGKeyArray, history: int) -> State:
    return problem.each_lane(lambda problem, p, key: begin(problem, p, key, history), params, keys)


@program(quickly=True)
def _refill(lanes: State, block: State, source: Array) -> State:
    """Lanes in which `source >= 0` become that entry of `block`."""
    return jax.tree.map(
        lambda old, new: jnp.where(trailing(source >= 0, old), new[jnp.maximum(source, 0)], old), lanes, block
    )


def _advance(problem: Problem | Many, lanes: State, limit: Array) -> State:
    return problem.each_lane(lambda problem, state: run(problem, state, limit), lanes)


_advance_few, _advance_many = Program(_advance, quickly=True), Program(_advance)


def few_products(problem: Problem | Many, state: State, lanes: int = 1) -> bool:
    """Whether a step of so many such states is short."""
    return lanes * _products(problem, state) < FEW_PRODUCTS


def _products(problem: Problem | Many, state: State) -> int:
    """How many products the statistics of a state, or of several lanes, are made of."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.iterate.stats)) * problem.num_rows


def advance(problem: Problem | Many, lanes: State) -> Program:
    """The program that advances such lanes; what is compiled quickly is no slower where a step is short."""
    return _advance_few if few_products(problem, lanes) else _advance_many


@program(quickly=True)
def _take(lanes: State, lane: Array) -> State:
    """One lane, or several for an array of numbers."""
    return jax.tree.map(lambda leaf: leaf[lane], lanes)


@program(quickly=True)
def stack(states: tuple[State, ...]) -> State:
    """Several runs as lanes."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@program(quickly=True)
def _resume(problem: Problem | Many, lanes: State) -> State:
    return problem.each_lane(resume, lanes)


class Pool:
    """Lanes that advance together for `round_steps` iterations at a time: `size` of them in each of several groups.

    A lane that ends is given the next start of its group, so that lockstep wastes at most a round per start. Once no
    start is left to give, the last runs are packed into a quarter of the lanes, if the work that saves outweighs one
    more compilation. Starts are independent: their results do not depend on the number of lanes but through the
    rounding of the matrix products.

    Groups advance side by side, each on a thread of its own, while this one looks after those that have ended a round.
    They take turns, whichever ends first, and each has starts of its own: the same call does the same arithmetic.
    """

    def __init__(self, problem: Problem | Many, size: int, round_steps: int, on_round: Callable[[int, int], None]):
        self.problem, self.size, self.round_steps, self.on_round = problem, size, round_steps, on_round

    def run(
        self, parts: Sequence[Iterator[tuple[list[int], State]]], histories: dict[int, list[np.ndarray]]
    ) -> Iterator[Outcome]:
        """Runs every start in `parts`, the blocks of each group, yielding each as it ends.

        A block is numbers of starts, and their states stacked to `size`.
        """
        groups = [_Group(self, blocks, histories, threaded=len(parts) > 1) for blocks in parts]
        going = [group for group in groups if group.begin_round()]
        while going:
            for group in going:
                steps, outcomes = group.end_round()
                self.on_round(sum(one.running for one in groups), steps)
                yield from outcomes
                group.begin_round()
            going = [group for group in going if group.running]

    def worth_packing(self, lanes: State, size: int) -> bool:
        """Whether lanes that idle for some fifty more iterations cost more than a compilation.

        Decided on sizes alone, not on the clock, so that the same call always does the same arithmetic.
        """
        return 50 * (size - size // 4) * (_products(self.problem, lanes) // size) > COMPILATION_PRODUCTS


class _Group:
    """Lanes that advance together, the starts that own them, and those that wait for one."""

    def __init__(
        self,
        pool: Pool,
        blocks: Iterator[tuple[list[int], State]],
        histories: dict[int, list[np.ndarray]],
        threaded: bool,
    ):
        self.pool, self.blocks, self.histories, self.threaded = pool, blocks, histories, threaded
        self.block: Any = None
        self.lanes: Any = None
        self.waiting: list[int] = []
        self.position = 0
        # The start in each lane, -1 for none, and how many of its steps have been noted.
        self.owner, self.last = np.full(pool.size, -1), np.full(pool.size, -1)
        self.advanced: Callable[[], State]

    @property
    def running(self) -> int:
        return int((self.owner >= 0).sum())

    def begin_round(self) -> bool:
        """Fill the lanes that are free and advance all; false once there is nothing to advance."""
        self.fill()
        if not self.running:
            return False
        size = len(self.owner)
        if 4 * self.running <= size and self.pool.worth_packing(self.lanes, size):
            self.pack(size // 4)
        limit = np.asarray(self.pool.round_steps, np.int32)
        problem = self.pool.problem.of_starts(self.owner)
        call = advance(problem, self.lanes).of(problem, self.lanes, limit)
        # What JAX is to compile goes by settings that it holds for each thread.
        if self.threaded and may_be_kept(self.lanes):
            self.advanced = _threads().submit(lambda: jax.block_until_ready(call())).result
        else:
            lanes = call()
            self.advanced = lambda: lanes
        return True

    def fill(self) -> None:
        """Give the lanes that are free the next starts."""
        free, size = np.flatnonzero(self.owner < 0), len(self.owner)
        while len(free):
            if self.position == len(self.waiting):
                self.waiting, self.block = next(self.blocks, ([], None))
                self.position = 0
                if not self.waiting:
                    return
            take = min(len(free), len(self.waiting) - self.position)
            source = np.full(size, -1, np.int32)
            source[free[:take]] = np.arange(self.position, self.position + take)
            if self.lanes is None and take == size:
                self.lanes = self.block
            else:
                self.lanes = _refill(_ended(self.block) if self.lanes is None else self.lanes, self.block, source)
            starts = self.waiting[self.position : self.position + take]
            self.owner[free[:take]] = starts
            self.last[free[:take]] = [sum(len(h) for h in self.histories.get(i, [])) - 1 for i in starts]
            self.position += take
            free = free[take:]

    def pack(self, size: int) -> None:
        """The lanes that are running in so many."""
        running = np.flatnonzero(self.owner >= 0)
        kept = np.resize(running, size)
        self.lanes = _take(self.lanes, kept.astype(np.int32))
        self.owner, self.last = self.owner[kept], self.last[kept]
        self.owner[len(running) :] = -1

    def end_round(self) -> tuple[int, list[Outcome]]:
        """Wait for the round to end: how many steps it took in all, and the runs that ended."""
        self.lanes = lanes = self.advanced()
        code, objective, num_steps, ring = jax.device_get(
            (status_code(lanes.status), lanes.iterate.objective, lanes.num_steps, lanes.history)
        )
        steps, outcomes = 0, []
        for lane in np.flatnonzero(self.owner >= 0):
            start, last = int(self.owner[lane]), self.last[lane]
            done = int(num_steps[lane]) if np.isfinite(objective[lane]) else last
            self.histories.setdefault(start, []).append(ring[lane, np.arange(last + 1, done + 1) % ring.shape[1]])
            steps += max(done, 0) - max(int(last), 0)
            self.last[lane] = done
            if code[lane] != int(status_code(Status.running)):
                self.owner[lane] = -1
                history, reached = self.histories.pop(start), float(objective[lane])
                outcomes.append(
                    Outcome(start, int(code[lane]), reached, int(num_steps[lane]), history, lanes, int(lane))
                )
        return steps, outcomes


def fresh_blocks(
    problem: Problem | Many,
    draw: Callable[[np.ndarray], tuple[PyTree, PRNGKeyArray]],
    total: int,
    layout: Layout,
    history: int,
) -> list[Iterator[tuple[list[int], State]]]:
    """For each group, blocks of the starts `0 ... total - 1`, in turn; `draw(numbers)` gives parameters and keys."""

    def blocks(group: int) -> Iterator[tuple[list[int], State]]:
        for first in range(group * layout.lanes, total, layout.groups * layout.lanes):
            numbers = np.arange(first, first + layout.lanes)
            starts = np.minimum(numbers, total - 1).astype(np.int32)
            params, keys = draw(starts)
            lanes = _begin(problem.of_starts(starts), params, keys, history)
            yield [i for i in numbers.tolist() if i < total], lanes

    return [blocks(group) for group in range(layout.groups)]


def prepare(problem: Problem | Many, draw: Any, key: PRNGKeyArray, layout: Layout, total: int, steps: int) -> State:
    """Begins to compile the programs that `total` runs from fresh starts will call; returns a blank state."""
    numbers = np.zeros(layout.lanes, np.int32)
    params, keys = blank(draw.func.begin_compiling(*draw.args, numbers), key)
    problem = problem.of_starts(numbers)
    lanes = blank(_begin.begin_compiling(problem, params, keys, steps + 1), key)
    advance(problem, lanes).begin_compiling(problem, lanes, np.asarray(steps, np.int32))
    if total != layout.lanes * layout.groups:
        _refill.begin_compiling(lanes, lanes, numbers)
    return blank(_take.begin_compiling(lanes, np.zeros((), np.int32)), key)


def saved_blocks(
    problem: Problem | Many | None, saved: list[tuple[int, State]], layout: Layout
) -> list[Iterator[tuple[list[int], State]]]:
    """For each group, blocks of runs that were set aside, in turn.

    They are begun anew under `problem` if they lacked accuracy.
    """
    size, groups = layout

    def blocks(group: int) -> Iterator[tuple[list[int], State]]:
        for first in range(group * size, len(saved), groups * size):
            part = saved[first : first + size]
            starts = [number for number, _ in part]
            lanes = stack((*(state for _, state in part), *[part[-1][1]] * (size - len(part))))
            if problem is not None:
                lanes = _resume(problem.of_starts(np.resize(starts, size)), lanes)
            yield starts, lanes

    return [blocks(group) for group in range(groups) if group * size < len(saved)]


def _ended(block: State) -> State:
    """Lanes with nothing to do."""
    code = status_code(block.status)
    return block._replace(status=status_from_code(np.full(code.shape, status_code(Status.eliminated), code.dtype)))


@cache
def _threads() -> ThreadPoolExecutor:
    """A thread for each group that advances; it computes, and looks at nothing that JAX holds for each thread."""
    return ThreadPoolExecutor(MOST_GROUPS, thread_name_prefix="jaxem-lanes")
