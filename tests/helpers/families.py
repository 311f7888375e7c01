"""The families that the package offers."""

from jaxem import families
from jaxem.families import AbstractFamily


def public() -> set[type[AbstractFamily]]:
    """All of them but abstract ones."""
    return {
        kind
        for kind in vars(families).values()
        if isinstance(kind, type) and issubclass(kind, AbstractFamily) and not kind.__name__.startswith("Abstract")
    }
