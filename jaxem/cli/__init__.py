"""The command line: `jaxem fit`, `jaxem predict`, `jaxem sample`.

Nothing heavy is imported until a command runs. `load_fit` reads back what `jaxem fit` wrote.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxem.cli._store import Stored as Stored
    from jaxem.cli._store import load_fit as load_fit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (those of the process by default); returns the exit code.

    Without `arguments` the process is the command's own: signals end it.
    """
    if arguments is not None:
        return _main(arguments)
    import gc
    import io
    import sys

    from jaxem.cli._signals import ended

    # Imports and tracing make many objects that stay: looking through them again and again is half a second lost.
    gc.set_threshold(100_000, 50, 100)
    # What a terminal cannot show is spelled out rather than an error.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with ended():
        return _main(None)


def _main(arguments: Sequence[str] | None) -> int:
    try:
        from jaxem.cli._app import run
    except ModuleNotFoundError as error:
        import sys

        if error.name in {"typer", "rich"}:
            print("jaxem: error: the command line needs more packages: pip install 'jaxem[cli]'", file=sys.stderr)
            return 2
        raise
    return run(arguments)


def __getattr__(name: str):
    if name in {"Stored", "load_fit"}:
        from jaxem.cli import _store

        return getattr(_store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
