"""Errors that the person at the terminal can put right."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """Ends the command with its message on one line, and exit code 2."""


def one_line(message: object) -> str:
    """`message` without line breaks."""
    return " ".join(str(message).split())


@contextmanager
def reported() -> Iterator[None]:
    """Turn the errors by which the library refuses data or arguments into a `CommandError`."""
    from jaxem._errors import FitError

    try:
        yield
    except (ValueError, FitError) as error:
        raise CommandError(one_line(error)) from error
