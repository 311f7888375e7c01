"""Expectation-maximization on JAX.

The names are those that `jaxem._public` imports: add new ones there. It is imported, and JAX with it, when the first
of them is asked for, so that `jaxem --help` need not wait.
"""

from typing import TYPE_CHECKING

from jaxem import _fork as _fork  # listens from here on

if TYPE_CHECKING:
    from jaxem._public import *  # noqa: F403
else:

    def _names():
        from importlib import import_module

        return {name: value for name, value in vars(import_module("jaxem._public")).items() if name[0] != "_"}

    def __getattr__(name):
        if name == "__all__":
            return sorted(_names())
        # Submodules with a leading underscore are imported by their importers, some while the names are on their way.
        names = {} if name.startswith("_") else _names()
        if name not in names:
            raise AttributeError(f"module 'jaxem' has no attribute {name!r}")
        globals().update(names)
        return names[name]

    def __dir__():
        return sorted({*globals(), *_names()})
