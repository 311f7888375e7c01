"""What an object passes on to one of its parts."""

from typing import Any


class _Passed:
    def __init__(self, part: str):
        self.part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        part = getattr(instance, self.part.removesuffix("()"))
        return getattr(part() if self.part.endswith("()") else part, self.name)


def passed(part: str) -> Any:
    """A method, or a property, that is the one of the same name of a part: of `self.family` or, by `"bound()"`, of what
    that method returns."""
    return _Passed(part)
