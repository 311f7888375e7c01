"""When a search ends early: at a time limit, when it is asked to, when it is interrupted."""

import math
import numbers
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxem._errors import DataError

_WORDS = "interrupted: the best so far is returned, with status stopped"


class Stop:
    """Whether a search is to end now.

    **Arguments:**

    - `time_limit`: seconds from here; `None` for no limit.
    """

    def __init__(self, time_limit: Any = None):
        if time_limit is not None and not _is_positive(time_limit):
            raise DataError(f"time_limit must be a positive number of seconds, got {time_limit!r}")
        self._until = math.inf if time_limit is None else time.monotonic() + float(time_limit)
        self.asked = self._heard = self._never = self._drains = False

    @staticmethod
    def of(time_limit: Any) -> "Stop":
        """That of the whole call, if this is a part of one."""
        return time_limit if isinstance(time_limit, Stop) else Stop(time_limit)

    @staticmethod
    def never() -> Any:
        """For a search that is a part of something else: an interrupt raises `KeyboardInterrupt` at once."""
        stop = Stop()
        stop._heard = stop._never = True
        return stop

    @staticmethod
    def draining(time_limit: Any) -> Any:
        """For runs that differ in their data: none begins any more, and those that have go on to their ends.

        What is left does not depend on how long a run takes, as it would if the running ones were given up.
        """
        stop = Stop.of(time_limit)
        stop._drains = True
        return stop

    @property
    def reached(self) -> bool:
        """True once it was asked for, or the time is over."""
        return not self._never and (self.asked or time.monotonic() >= self._until)

    @property
    def drains(self) -> bool:
        """True once no run begins any more, and those that have go on."""
        return self._drains and self.reached

    @property
    def now(self) -> bool:
        """True once runs that have begun are to end."""
        return not self._drains and self.reached

    @contextmanager
    def interruptible(self, words: str = _WORDS) -> Iterator[None]:
        """Within the block the first interrupt (Ctrl-C) asks for the end; a second one raises `KeyboardInterrupt`.

        Only where interrupts would raise that: in the main thread, and unless somebody else handles them. Of nested
        blocks the outer one counts. `words` are those of the warning that says so.
        """
        main = threading.current_thread() is threading.main_thread()
        if self._heard or not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        self._heard = True
        interrupted = []

        def ask(number: int, frame: Any) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            interrupted.append(number)
            self.asked = True

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._heard = False
        if interrupted:
            warnings.warn(words, stacklevel=4)


def _is_positive(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) > 0
