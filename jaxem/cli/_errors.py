"""Errors that the person at the terminal can put right, and lines on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jaxem._errors import DataError, FitError
from jaxem._text import plain

_LONGEST = 2000


class CommandError(DataError):
    """Ends the command with its message on one line, and exit code 2."""


def one_line(message: object) -> str:
    """`message` without line breaks."""
    return " ".join(str(message).split())


def say(kind: str, message: object) -> None:
    """Print an `"error"`, `"warning"` or `"note"` on standard error: one line, whatever the message quotes."""
    print(f"jaxem: {kind}: {plain(one_line(message), _LONGEST)}", file=sys.stderr)


@contextmanager
def reported() -> Iterator[None]:
    """Turn the errors by which the library refuses data or arguments into a `CommandError`."""
    try:
        yield
    except (ValueError, FitError) as error:
        raise CommandError(one_line(error)) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise CommandError("there is not enough memory: use fewer rows, starts or components") from error
