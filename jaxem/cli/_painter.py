"""`fit.png`, drawn by another process: it imports Matplotlib and draws while the command does something else.

A thread would not do: imports and drawing keep the interpreter to themselves.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxem.cli._picture import draw, rendered
from jaxem.cli._signals import owns_process
from jaxem.cli._view import View

Picture = Callable[[], bytes | None]  # asked for once it is needed
Paint = Callable[[dict[str, Any], View], Picture]

_COMMAND = (sys.executable, "-P", "-c", "from jaxem.cli._painter import main; main()")


@contextmanager
def painter() -> Iterator[Paint]:
    """What begins to make `fit.png` of a document and a view; the picture is `None` after a warning.

    That is another process, begun here, where the command has a process of its own.
    """
    process = _begun() if owns_process() else None
    try:
        yield _paint if process is None else partial(_paint_by, process)
    finally:
        if process is not None:
            _end(process)


def _begun() -> subprocess.Popen | None:
    """The other process, which finds the modules that this one finds; `None` if there is none to be had."""
    if not sys.executable:
        return None
    path = os.pathsep.join(dict.fromkeys(os.path.abspath(place) for place in sys.path))
    with suppress(OSError):
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.Popen(_COMMAND, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return None


def _paint(document: dict[str, Any], view: View) -> Picture:
    return lambda: rendered(lambda: draw(document, view))


def _paint_by(process: subprocess.Popen, document: dict[str, Any], view: View) -> Picture:
    """The picture as the other process makes it; as this one does where that fails."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError), process.stdin:
        pickle.dump((document, _without_jax(view)), process.stdin)
    answer = process.stdout

    def picture() -> bytes | None:
        found = answer.read()
        # It has told why there is none.
        return found or None if process.wait() == 0 else _paint(document, view)()

    return picture


def _end(process: subprocess.Popen) -> None:
    """It ends by itself where nothing is left for it to read."""
    for pipe in filter(None, (process.stdin, process.stdout)):
        with suppress(OSError):
            pipe.close()


def _without_jax(view: View) -> View:
    """The same in NumPy, with parameters of a class that says nothing of models: neither needs JAX to be read."""
    return view._replace(params=_plain(view.params), bounds=dict(view.bounds))


def _plain(tree: Any) -> Any:
    if hasattr(tree, "_asdict"):
        return SimpleNamespace(**{name: _plain(value) for name, value in tree._asdict().items()})
    return tree if tree is None else np.asarray(tree)


def main() -> None:
    """Reads a document and a view from standard input, and writes the picture to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the command, which says so
    for name in ("matplotlib.backends.backend_agg", "jaxem.plot"):
        with suppress(ImportError):  # who draws hears of it
            import_module(name)
    sent = sys.stdin.buffer.read()
    if sent:
        try:
            picture = _paint(*pickle.loads(sent))()
        except Exception:  # the command draws by itself then, and says what is wrong
            raise SystemExit(1) from None
        sys.stdout.buffer.write(picture or b"")
        sys.stdout.buffer.flush()
