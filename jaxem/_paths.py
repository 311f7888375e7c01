"""Names of the leaves of a tree."""

from typing import Any


def leaf_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf as a dotted name."""
    return ".".join(str(getattr(entry, "name", getattr(entry, "key", getattr(entry, "idx", "")))) for entry in path)


def covers(prefix: str, name: str) -> bool:
    """Whether `prefix` names the leaf `name`, or a tree that it belongs to."""
    return name == prefix or name.startswith(f"{prefix}.")
