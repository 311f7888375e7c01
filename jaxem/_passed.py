"""What an object inside the package passes on to one of its parts."""

from typing import Any


class _Passed:
    def __init__(self, part: str):
        self.part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else getattr(getattr(instance, self.part), self.name)


def passed(part: str) -> Any:
    """A method, or a property, that is the one of the same name of a part, such as of `self.model`."""
    return _Passed(part)
