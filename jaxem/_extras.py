"""Packages that are there or not."""

from importlib import import_module
from types import ModuleType


def optional(package: str, what: str, how: str) -> ModuleType:
    """The package; a `ModuleNotFoundError` that names `what` needs it, and says `how` to have it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{what} needs {package}: {how}", name=package) from error
