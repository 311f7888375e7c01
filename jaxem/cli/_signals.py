"""Signals that end the command: it removes what it has begun, says so on one line, and exits with 128 + their number.

The interpreter raises `KeyboardInterrupt` in the main thread only, between two of its instructions: minutes late while
compiled code runs, and lost or fatal in the middle of an import or a callback. So a thread of its own waits for
signals.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_cleanups: list[Callable[[], object]] = []
_asks: list[Callable[[], object]] = []
_whole = threading.RLock()
_waiting: list[int] = []  # what the threads that wait for signals read


def owns_process() -> bool:
    """Whether the process is the command's own, which signals end."""
    return bool(_waiting)


@contextmanager
def ended() -> Iterator[None]:
    """Within the block a signal ends the process, unless the process was told to ignore it (as `nohup` does)."""
    numbers = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reader,), daemon=True).start()
    _waiting.append(reader)
    try:
        yield
    finally:
        _waiting.remove(reader)
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        os.close(writer)


@contextmanager
def cleaned(cleanup: Callable[[], object]) -> Iterator[None]:
    """A block after which `cleanup` runs, whether it ends or a signal ends the process."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)
        cleanup()


@contextmanager
def asked(ask: Callable[[], object]) -> Iterator[None]:
    """A block in which the first interrupt (Ctrl-C) calls `ask`, which lets the work end; the second ends the process.

    Only where signals end the process, in `ended`.
    """
    _asks.append(ask)
    try:
        yield
    finally:
        if ask in _asks:
            _asks.remove(ask)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that no signal cuts: the process ends after it."""
    with _whole:
        yield


def _wait(reader: int) -> None:
    words = {getattr(signal, name): word for name, word in _WORDS.items() if hasattr(signal, name)}
    found = os.read(reader, 1)
    while found and found[0] in words and words[found[0]] == "interrupted" and _asks:
        _asks.pop()()
        with suppress(OSError):
            os.write(2, b"jaxem: note: interrupted: what is done soon is kept; once more ends it now\n")
        found = os.read(reader, 1)
    os.close(reader)
    if not found or found[0] not in words:
        return
    with _whole:
        for cleanup in reversed(_cleanups.copy()):
            with suppress(Exception):
                cleanup()
        with suppress(OSError):
            os.write(2, f"jaxem: error: {words[found[0]]}\n".encode())
        os._exit(128 + found[0])
