"""How the runs of a search advance and end: what it asks, and the answer where all rows are at hand."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import numpy as np

from jaxem._solve import Fit, finish
from jaxem.engine.lanes import advance
from jaxem.engine.many import Many
from jaxem.engine.problem import on_accurate_kernel
from jaxem.engine.programs import Program
from jaxem.engine.state import State

finished = Program(finish, quickly=True)
_on_accurate_kernel = Program(on_accurate_kernel, quickly=True)


class AbstractRunner(ABC):
    """Runs of a problem. `lanes` are the states of several, stacked."""

    round_steps: ClassVar[int]  # iterations of a round, after which the host looks at the lanes
    together: bool = False  # true where processes share the rows, whatever the problem holds

    @abstractmethod
    def advance(self, problem: Any, lanes: State) -> Callable[[], State]:
        """A call that takes all lanes through a round."""

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
    """A round is one call of one program, which holds all rows."""

    round_steps: ClassVar[int] = 8

    def advance(self, problem, lanes):
        return advance(problem, lanes).of(problem, lanes, np.asarray(self.round_steps, np.int32))

    def accurate(self, problem):
        return problem.on_accurate_kernel() if isinstance(problem, Many) else _on_accurate_kernel(problem)

    def finish(self, problem, state):
        return finished(problem, state)

    def num_rows(self, problem):
        return problem.num_rows
