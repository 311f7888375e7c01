"""What a search is made of: stages of runs that go together, those set aside for the next, and the best one."""

from typing import NamedTuple

from jaxem.engine.pool import Outcome
from jaxem.engine.state import State


class Best(NamedTuple):
    """The best run so far, with its state, and whether it was on the accurate kernel."""

    outcome: Outcome
    state: State
    accurate: bool


class Aside(NamedTuple):
    """A run that was set aside for the next stage."""

    start: int
    code: int
    objective: float
    num_steps: int
    state: State


class Stage(NamedTuple):
    """Runs that go together, fresh starts (`None`) or runs set aside before: a round of a race, all, the accurate."""

    kind: str
    going: list[tuple[int, State]] | None = None
    steps: int = 0  # at which a round of a race is decided
