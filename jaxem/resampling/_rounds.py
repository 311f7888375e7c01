"""Samples some at a time: what is told of all of them on the way, and how they end early."""

from collections.abc import Callable
from typing import Any

from jaxem.engine.stop import Stop
from jaxem.record import Progress

_FEWEST, _ROUNDS = 64, 8

WORDS = "interrupted: the samples that were done so far are returned"


def at_a_time(count: int) -> int:
    """How many of `count` samples are fitted side by side: few enough to end early, enough for full lanes."""
    return max(_FEWEST, -(-count // _ROUNDS))


def overall(progress: Any, stop: Stop, before: int, total: int) -> Callable[[Progress], None] | bool | None:
    """`progress` as one part of `total` fits hears of it, of which `before` are done; answering `True` asks to stop."""
    if not callable(progress):
        return progress

    def tell(told: Progress) -> None:
        if progress(told._replace(done=before + told.done, total=max(total, before + told.total))) is True:
            stop.asked = True

    return tell
