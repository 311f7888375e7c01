"""How the runs of a search advance and end: what it asks, and the answer where all rows are at hand."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, final

import jax
import numpy as np
from jax.sharding import NamedSharding

from jaxem._solve import Fit, finish
from jaxem.engine.lanes import advance
from jaxem.engine.many import Many
from jaxem.engine.problem import on_accurate_kernel
from jaxem.engine.programs import Call, Program
from jaxem.engine.state import State
from jaxem.kernels.devices import sizes

_FEW_NUMBERS = 2**15  # of data that a step reads, once for each lane

finished = Program(finish, quickly=True)
_on_accurate_kernel = Program(on_accurate_kernel, quickly=True, level=0)


@cache
def _placing(spread: NamedSharding) -> Callable[[State], State]:
    """Moves lanes to where they are to lie; `jax.device_put` knows the devices of its own process alone."""
    return jax.jit(lambda lanes: lanes, out_shardings=spread)


class AbstractRunner(ABC):
    """Runs of a problem. `lanes` are the states of several, stacked."""

    round_steps: int  # the most iterations of a round, after which the host looks at the lanes
    together: bool = False  # true where processes share the rows, whatever the problem holds

    @abstractmethod
    def advance(self, problem: Any, lanes: State, age: float, runs: int) -> Call:
        """A call that takes all lanes through a round; `age` is the mean number of steps that they have made.

        There are so many `runs` in all, of which those in the lanes are some.
        """

    @abstractmethod
    def accurate(self, problem: Any) -> Any:
        """The problem on the accurate kernel of its model, which has one."""

    @abstractmethod
    def finish(self, problem: Any, state: State) -> Fit:
        """The result of a run."""

    @abstractmethod
    def num_rows(self, problem: Any) -> int:
        """How many rows an iteration looks at."""


@final
class AtHand(AbstractRunner):
    """A round is one call of one program, which holds all rows; lanes lie as `spread` says, if anything does.

    A round has as many steps as pay on the device, `few`, and up to `many` where runs are long: an eighth of what they
    have made, so that one that ends does not wait long, as runs go. It has up to `round_steps` where that is how far
    the runs may go, as in a race: lanes that end side by side are filled side by side.
    """

    def __init__(self, spread: NamedSharding | None = None, few: int | None = None, many: int | None = None):
        self.few = sizes().round_steps if few is None else few
        self.spread, self.many = spread, self.few if many is None else many
        self.round_steps = max(2 * self.few, self.many)

    @staticmethod
    def over(problem: Any, lanes: int) -> "AtHand":
        """With longer rounds where a step of so many lanes takes less time than looking at them."""
        of_device, numbers = sizes(), sum(leaf.size for leaf in jax.tree.leaves(problem.data))
        if numbers * lanes > _FEW_NUMBERS:
            return AtHand()
        return AtHand(few=min(4 * of_device.round_steps, of_device.long_round), many=of_device.long_round)

    def advance(self, problem, lanes, age, runs):
        if self.spread is not None and len(lanes.num_steps) % self.spread.mesh.shape["lanes"] == 0:
            lanes = _placing(self.spread)(lanes)
        steps = min(max(int(age) // 8, self.few), self.many)
        # The first iteration of a fresh run is no step: its age is -1.
        left = int(problem.max_steps) - int(np.floor(age))
        if steps < left <= self.round_steps:
            steps = left
        return advance(problem, lanes, runs, age).of(problem, lanes, np.asarray(steps, np.int32))

    def accurate(self, problem):
        return problem.on_accurate_kernel() if isinstance(problem, Many) else _on_accurate_kernel(problem)

    def finish(self, problem, state):
        return finished(problem, state)

    def num_rows(self, problem):
        return problem.num_rows
