"""A model in a few words, for tables and pictures."""

import dataclasses
from typing import Any

import numpy as np

# Fields that count members, and what they count.
_COUNTS = {
    "num_components": "component",
    "num_states": "state",
    "num_factors": "factor",
    "num_topics": "topic",
    "state_dim": "state",
}


def title_of(model: Any) -> str:
    """The model, its family with its structure, and how many members it has.

    **Example**

    >>> import jaxem
    >>> from jaxem._titles import title_of
    >>> title_of(jaxem.GaussianMixture(3, "tied")), title_of(jaxem.FactorAnalysis(2))
    ('Mixture of Gaussian (tied), 3 components', 'Single Factor (diagonal), 2 factors')
    """
    kind, counts = kind_of(model), sizes_in(model)
    return ", ".join([kind, *(f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items())])


def kind_of(model: Any) -> str:
    """The model and its family, without numbers of members: what models that differ in these alone share."""
    name, family = type(model).__name__, _family(model)
    if family is None:
        return name
    joint = " of " if name.startswith("Mixture") else " with " if name != "Single" else " "
    return f"{name}{joint}{_described(family)}"


def sizes_in(model: Any) -> dict[str, int]:
    """How many components, states, factors and so on the model has, in the order of its fields, family last."""
    found = {}
    for part in (model, _family(model)):
        for name, what in _COUNTS.items():
            value = getattr(part, name, None) if part is not None and _has(part, name) else None
            if isinstance(value, int | np.integer) and not isinstance(value, bool):
                found[what] = int(value)
    return found


def _family(model: Any) -> Any:
    return getattr(model, "distribution", None) if hasattr(type(model), "distribution") else None


def _described(family: Any) -> str:
    inner = getattr(family, "family", None) if _has(family, "family") else None
    if inner is not None:
        return f"{type(family).__name__} {_described(inner)}"
    words = [getattr(family, field.name) for field in dataclasses.fields(family)]
    said = [word for word in words if isinstance(word, str)]
    return f"{type(family).__name__} ({', '.join(said)})" if said else type(family).__name__


def _has(part: Any, name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(part)) if dataclasses.is_dataclass(part) else False
