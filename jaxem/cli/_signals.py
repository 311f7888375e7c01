"""Signals that end the command: it cleans up, says so on one line, and exits with 128 plus their number."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class _State:
    """The signal that came first, if any; and whether it has to wait for the end of a block."""

    number: int | None = None
    depth: int = 0


_state = _State()


def ended_by() -> tuple[str, int] | None:
    """What to say, and the exit code, once a signal has come."""
    number = _state.number
    return None if number is None else (_NAMES[signal.Signals(number).name], 128 + number)


@contextmanager
def handled() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for each of the signals that the process does not ignore (`nohup` does)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    _state.number = None
    try:
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, _end)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that signals do not cut: what comes meanwhile is raised after it."""
    before = _state.number
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    if _state.depth == 0 and _state.number != before:
        raise KeyboardInterrupt


def _end(number: int, frame: object) -> None:
    _state.number = _state.number or number
    if _state.depth == 0:
        raise KeyboardInterrupt
