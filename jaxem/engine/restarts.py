"""Many runs at once: lanes of one compiled program, refilled as they finish."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._status import Status, status_code, status_from_code
from jaxem.engine.loop import resume, run
from jaxem.engine.problem import Problem
from jaxem.engine.programs import blank, program
from jaxem.engine.state import State, begin
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.linalg import trailing

_COMPILATION_FLOPS = 2e11  # what a few seconds of compiling would have bought


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
def _begin(problem: Problem, params: PyTree, keys: PRNGKeyArray, history: int) -> State:
    return jax.vmap(lambda p, key: begin(problem, p, key, history))(params, keys)


@program(quickly=True)
def _refill(lanes: State, block: State, source: Array) -> State:
    """Lanes in which `source >= 0` become that entry of `block`."""
    return jax.tree.map(
        lambda old, new: jnp.where(trailing(source >= 0, old), new[jnp.maximum(source, 0)], old), lanes, block
    )


@program()
def _advance(problem: Problem, lanes: State, limit: Array) -> State:
    return jax.vmap(lambda state: run(problem, state, limit))(lanes)


@program(quickly=True)
def _take(lanes: State, lane: Array) -> State:
    """One lane, or several for an array of numbers."""
    return jax.tree.map(lambda leaf: leaf[lane], lanes)


@program(quickly=True)
def _stack(states: tuple[State, ...]) -> State:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@program(quickly=True)
def _resume(problem: Problem, lanes: State) -> State:
    return jax.vmap(lambda state: resume(problem, state))(lanes)


class Pool:
    """`size` lanes that advance together for `round_steps` iterations at a time.

    A lane that ends is given the next start, so that lockstep wastes at most a round per start. Once no start is left
    to give, the last runs are packed into a quarter of the lanes, if the work that saves outweighs one more
    compilation. Starts are independent: their results do not depend on the number of lanes but through the rounding of
    the matrix products.
    """

    def __init__(self, problem: Problem, size: int, round_steps: int, on_round: Callable[[int, int], None]):
        self.problem, self.size, self.round_steps, self.on_round = problem, size, round_steps, on_round

    def run(
        self, blocks: Iterator[tuple[list[int], State]], histories: dict[int, list[np.ndarray]]
    ) -> Iterator[Outcome]:
        """Runs every start in `blocks` (numbers, and states stacked to `size`), yielding each as it ends."""
        block: Any = None
        lanes: Any = None
        waiting: list[int] = []
        position = 0
        size = self.size
        owner, last = np.full(size, -1), np.full(size, -1)
        while True:
            free = np.flatnonzero(owner < 0)
            while len(free):
                if position == len(waiting):
                    waiting, block = next(blocks, ([], None))
                    position = 0
                    if not waiting:
                        break
                take = min(len(free), len(waiting) - position)
                source = np.full(size, -1, np.int32)
                source[free[:take]] = np.arange(position, position + take)
                if lanes is None and take == size:
                    lanes = block
                else:
                    lanes = _refill(_ended(block) if lanes is None else lanes, block, source)
                owner[free[:take]] = waiting[position : position + take]
                last[free[:take]] = [sum(len(h) for h in histories.get(i, [])) - 1 for i in owner[free[:take]]]
                position += take
                free = free[take:]
            running = np.flatnonzero(owner >= 0)
            if not len(running):
                return
            if 4 * len(running) <= size and self.worth_packing(lanes, size):
                size //= 4
                kept = np.resize(running, size)
                lanes = _take(lanes, kept.astype(np.int32))
                owner, last = owner[kept], last[kept]
                owner[len(running) :] = -1
            lanes = _advance(self.problem, lanes, np.asarray(self.round_steps, np.int32))
            code, objective, steps, ring = jax.device_get(
                (status_code(lanes.status), lanes.iterate.objective, lanes.num_steps, lanes.history)
            )
            advanced = 0
            for lane in np.flatnonzero(owner >= 0):
                start = int(owner[lane])
                done = int(steps[lane]) if np.isfinite(objective[lane]) else last[lane]
                since = np.arange(last[lane] + 1, done + 1) % ring.shape[1]
                histories.setdefault(start, []).append(ring[lane, since])
                advanced += max(done, 0) - max(int(last[lane]), 0)
                last[lane] = done
            ended = np.flatnonzero((owner >= 0) & (code != int(status_code(Status.running))))
            owners, owner[ended] = owner[ended].copy(), -1
            self.on_round(int((owner >= 0).sum()), advanced)
            for lane, start in zip(ended, owners, strict=True):
                yield Outcome(
                    int(start),
                    int(code[lane]),
                    float(objective[lane]),
                    int(steps[lane]),
                    histories.pop(int(start), []),
                    lanes,
                    int(lane),
                )

    def worth_packing(self, lanes: State, size: int) -> bool:
        """Whether lanes that idle for some fifty more iterations cost more than a compilation.

        Decided on sizes alone, not on the clock, so that the same call always does the same arithmetic.
        """
        per_lane = sum(leaf.size for leaf in jax.tree.leaves(lanes.iterate.stats)) // size * num_rows(self.problem.data)
        return 50 * (size - size // 4) * 2 * per_lane > _COMPILATION_FLOPS


def fresh_blocks(
    problem: Problem,
    draw: Callable[[np.ndarray], tuple[PyTree, PRNGKeyArray]],
    total: int,
    size: int,
    history: int,
) -> Iterator[tuple[list[int], State]]:
    """Starts `0 ... total - 1` in blocks of `size`; `draw(numbers)` gives parameters and keys."""
    for first in range(0, total, size):
        numbers = np.arange(first, first + size)
        params, keys = draw(np.minimum(numbers, total - 1).astype(np.int32))
        yield [i for i in numbers.tolist() if i < total], _begin(problem, params, keys, history)


def prepare(problem: Problem, draw: Any, key: PRNGKeyArray, size: int, total: int, steps: int) -> State:
    """Begins to compile the programs that `total` runs from fresh starts will call; returns a blank state."""
    numbers = np.zeros(size, np.int32)
    params, keys = blank(draw.func.begin_compiling(*draw.args, numbers), key)
    lanes = blank(_begin.begin_compiling(problem, params, keys, steps + 1), key)
    _advance.begin_compiling(problem, lanes, np.asarray(steps, np.int32))
    if total > size:
        _refill.begin_compiling(lanes, lanes, numbers)
    return blank(_take.begin_compiling(lanes, np.zeros((), np.int32)), key)


def saved_blocks(
    problem: Problem | None, saved: list[tuple[int, State]], size: int
) -> Iterator[tuple[list[int], State]]:
    """Runs that were set aside, in blocks of `size`; begun anew under `problem` if they lacked accuracy."""
    for first in range(0, len(saved), size):
        part = saved[first : first + size]
        lanes = _stack((*(state for _, state in part), *[part[-1][1]] * (size - len(part))))
        yield [number for number, _ in part], lanes if problem is None else _resume(problem, lanes)


def _ended(block: State) -> State:
    """Lanes with nothing to do."""
    code = status_code(block.status)
    return block._replace(status=status_from_code(np.full(code.shape, status_code(Status.eliminated), code.dtype)))
