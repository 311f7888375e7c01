"""Runs side by side: how many, the programs that begin and advance them, and the blocks of starts that fill lanes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._arguments import as_count
from jaxem._status import Status, status_code, status_from_code
from jaxem.engine.checkpoint import Part
from jaxem.engine.lane import Lane, refill_on_device, stack, take, take_on_device
from jaxem.engine.loop import resume, run
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.programs import Program, blank, may_be_kept, program
from jaxem.engine.state import State, begin
from jaxem.engine.trees import in_memory
from jaxem.kernels.devices import CPU, sizes

COMPILATION_PRODUCTS = 1e11  # what a few seconds of compiling would have bought
FEW_PRODUCTS = 2**21  # what takes less than a millisecond or so
_UNOPTIMIZED_PRODUCTS = 3e7  # what takes a tenth of a second or two longer without optimization than with it
_STEPS = 50  # of a run, as a guess
_FEWEST_LANES = 8  # that are worth a thread
_FEW_FLOATS = 2**21  # where their number comes from a short list: idle ones cost less than another compilation
_LANE_FLOATS = 2**26  # numbers that the starts of one block may take while they are drawn


class Layout(NamedTuple):
    """How many runs go side by side: `groups` of `lanes` each."""

    lanes: int
    groups: int = 1

    def shared_by(self, devices: int) -> "Layout":
        """With at least as many lanes in a group, as many for each device."""
        return self._replace(lanes=-(-self.lanes // devices) * devices)


def layout_of(
    problem: Problem,
    shapes: PyTree,
    n: int,
    restarts: int,
    lanes: int | None,
    place: Part | None = None,
    turns: int = 1,
) -> Layout:
    """How many of `restarts` runs over `n` rows go side by side: `lanes`, or by device, cores and size.

    On a CPU, where many lanes are no faster than some, few enough for each to have so many `turns`. A search that goes
    on from its `place` has the layout that it had, whatever the machine.
    """
    if place is not None and place.layout is not None:
        return Layout(*place.layout)
    on_cpu, of_device = jax.default_backend() == "cpu", sizes()
    most = restarts if lanes is None else min(as_count("lanes", lanes), restarts)
    groups = min(of_device.groups, _cores(), most // _FEWEST_LANES) if may_be_kept(problem) else 1
    groups = max(groups, 1)
    if lanes is not None:
        return Layout(most // groups, groups)
    each = problem.model.floats_per_row(shapes) * min(n, 8192) + 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    wanted = -(-most // groups)
    many = 2 ** (wanted - 1).bit_length()
    if wanted >= _FEWEST_LANES and many * each < _FEW_FLOATS:
        wanted = many
    size = max(min(of_device.lanes, wanted, _LANE_FLOATS // each // groups), 1)
    while on_cpu and turns > 1 and size >= 2 * _FEWEST_LANES and size * groups * turns > most:
        size //= 2
    return Layout(size, min(groups, -(-most // size)))


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Block(NamedTuple):
    """Numbers of starts, and their states stacked to as many as there are lanes."""

    starts: list[int]
    lanes: State


Blocks = Callable[[int], Block | None]  # each by its number; `None` after the last


@program(quickly=True, level=0)
def _begin(problem: Problem | Many, params: PyTree, keys: PRNGKeyArray, history: int) -> State:
    return problem.each_lane(lambda problem, p, key: begin(problem, p, key, history), params, keys)


def _advance(problem: Problem | Many, lanes: State, limit: Array) -> State:
    return problem.each_lane(lambda problem, state: run(problem, state, limit), lanes)


_advance_least, _advance_few = Program(_advance, quickly=True, level=0), Program(_advance, quickly=True, level=1)
_advance_many = Program(_advance)


def few_products(num_rows: int, state: State, lanes: int = 1) -> bool:
    """Whether a step over so many rows of so many such states is short."""
    return lanes * num_products(num_rows, state) < FEW_PRODUCTS


def num_products(num_rows: int, state: State) -> int:
    """How many products the statistics of a state, or of several lanes, are made of."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.iterate.stats)) * num_rows


def advance(problem: Problem | Many, lanes: State, runs: int, age: float = 0.0) -> Program:
    """The program that advances such lanes, of `runs` in all that have made `age` steps so far.

    It is compiled without optimization while all that is to come takes less time than that. What is compiled quickly is
    no slower where a step is short.
    """
    rows, size = problem.num_rows, len(lanes.num_steps)
    if not few_products(rows, lanes):
        return _advance_many
    each = num_products(_steps_of_rows(problem), lanes) // size
    least = runs * max(age, _STEPS) * each <= _UNOPTIMIZED_PRODUCTS
    return _advance_least if least else _advance_few


def _steps_of_rows(problem: Problem | Many) -> int:
    """How many rows there are, those of sequences step by step."""
    tables = [leaf.size // leaf.shape[-1] for leaf in jax.tree.leaves(problem.data) if leaf.ndim > 1]
    return max([problem.num_rows, *tables])


@program(quickly=True, level=0)
def begin_anew(problem: Problem | Many, lanes: State) -> State:
    """Runs that stopped for lack of accuracy, ready to go on under `problem`."""
    return problem.each_lane(resume, lanes)


def fresh_blocks(
    problem: Problem | Many,
    draw: Callable[[np.ndarray], tuple[PyTree, PRNGKeyArray]],
    starts: Sequence[int],
    layout: Layout,
    history: int,
    begins: Callable[[int], bool],
) -> list[Blocks]:
    """For each group, starts of these numbers, in turn; `draw(numbers)` gives parameters and keys.

    Those from a number on are begun if `begins` says so when it is their turn.
    """

    def block(group: int, number: int) -> Block | None:
        first = (group + number * layout.groups) * layout.lanes
        part = starts[first : first + layout.lanes]
        if not len(part) or not begins(part[0]):
            return None
        numbers = np.full(layout.lanes, part[-1], np.int32)
        numbers[: len(part)] = part
        return Block(list(part), begin_lanes(problem, draw, numbers, history))

    return [partial(block, group) for group in range(layout.groups)]


def begin_lanes(problem: Problem | Many, draw: Callable, starts: np.ndarray, history: int) -> State:
    """The runs of these starts, before anything has been evaluated."""
    params, keys = draw(starts)
    return _begin(problem.of_starts_in_order(starts), params, keys, history)


def prepare(
    problem: Problem | Many, draw: Any, key: PRNGKeyArray, layout: Layout, total: int, steps: int, in_order: bool
) -> State:
    """Begins to compile the programs that `total` runs from fresh starts will call; returns a blank state.

    They run `in_order` where a lane that ends is not given the next start at once.
    """
    numbers = np.zeros(layout.lanes, np.int32)
    params, keys = blank(draw.func.begin_compiling(*draw.args, numbers), key)
    ordered = problem.of_starts_in_order(numbers)
    lanes = blank(_begin.begin_compiling(ordered, params, keys, steps + 1), key)
    problem = ordered if in_order else problem.of_starts(numbers)
    advance(problem, lanes, total).begin_compiling(problem, lanes, np.asarray(steps, np.int32))
    lane = np.zeros((), np.int32)
    if in_memory(problem):
        return take(lanes, lane)
    if total != layout.lanes * layout.groups:
        refill_on_device.begin_compiling(lanes, lanes, numbers)
    return blank(take_on_device.begin_compiling(lanes, lane), key)


def saved_blocks(problem: Problem | Many | None, saved: list[tuple[int, Lane]], layout: Layout) -> list[Blocks]:
    """For each group, runs that were set aside, in turn.

    They are begun anew under `problem` if they lacked accuracy; else those that had to stop go on.
    """
    size, groups = layout

    def block(group: int, number: int) -> Block | None:
        first = (group + number * groups) * size
        part = saved[first : first + size]
        if not part:
            return None
        starts = [number for number, _ in part]
        lanes = stack([run for _, run in (*part, *[part[-1]] * (size - len(part)))])
        if problem is None:
            return Block(starts, _running(lanes))
        return Block(starts, begin_anew(problem.of_starts(np.resize(starts, size)), lanes))

    return [partial(block, group) for group in range(groups) if group * size < len(saved)]


def with_nothing_to_do(block: State) -> State:
    """Lanes with nothing to do."""
    return _told(block, lambda code: np.full_like(code, int(status_code(Status.eliminated))))


def _running(block: State) -> State:
    """Lanes that go on but for those that lack accuracy."""
    lacking = int(status_code(Status.inaccurate))
    return _told(block, lambda code: np.where(code == lacking, code, np.full_like(code, status_code(Status.running))))


def _told(block: State, tell: Callable[[np.ndarray], np.ndarray]) -> State:
    """Lanes with other codes, made on the host, which takes no call of the device for each."""
    code = status_code(block.status)
    return block._replace(status=status_from_code(tell(np.asarray(code))))


@cache
def threads() -> ThreadPoolExecutor:
    """A thread for each group that advances; it computes, and looks at nothing that JAX holds for each thread."""
    return ThreadPoolExecutor(CPU.groups, thread_name_prefix="jaxem-lanes")
