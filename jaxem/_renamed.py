"""Arguments that have another name now: the old keyword is an error that says the new one."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def renamed(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function refuse old keywords: `@renamed(old="new")`. Its signature has the new ones alone."""

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(fn)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for old, new in names.items():
                if old in kwargs:
                    raise TypeError(f"{getattr(fn, '__name__', 'call')}: {old} is now {new}")
            return fn(*args, **kwargs)

        return call

    return decorate
