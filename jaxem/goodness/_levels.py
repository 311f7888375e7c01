"""How many categories the columns of a model have, and their probabilities."""

import operator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families import Bernoulli, Categorical, IncompleteColumns, Product
from jaxem.families.univariate import Categories, marginal_of
from jaxem.models.joined import AbstractJoined


class Codes(NamedTuple):
    """How many categories a column has, and the codes of those that are not estimated never to occur."""

    levels: int
    possible: np.ndarray


def codes_of(model: Any, params: PyTree, shape: tuple[int, ...], levels: Any = None) -> tuple[Codes, ...]:
    """The categories of each entry of an observation, step by step; raises an error where they are not known."""
    if levels is not None:
        return tuple(Codes(each, np.arange(each)) for each in _given(levels, shape))
    probabilities = category_probabilities(model, params)
    if len(probabilities) != shape[-1]:
        raise DataError(f"data has {shape[-1]} columns, but the parameters are for {len(probabilities)}")
    found = tuple(Codes(own.shape[1], np.flatnonzero(own.max(0) > 0)) for own in probabilities)
    return found * (shape[0] if len(shape) == 2 else 1)


def counted(data: Any, weights: Any, who: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of positive weight and their weights; raises `DataError` for a missing entry, which `who` cannot take."""
    x = np.asarray(data)
    count = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    x, count = x[count > 0], count[count > 0]
    missing = np.argwhere(np.isnan(x))
    if len(missing):
        raise DataError(f"data: row {int(missing[0][0])} has a missing entry; {who} complete rows")
    return x, count


def require_codes(x: np.ndarray, codes: tuple[Codes, ...]) -> None:
    """Raise `DataError` for an entry of `x` `[n, d]` that is none of the categories of its column."""
    levels = [own.levels for own in codes]
    wrong = np.argwhere((x < 0) | (x >= np.asarray(levels)[None]) | (x != np.floor(x)))
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise DataError(
            f"data: row {row}, column {column} has value {x[row, column]}, which is not one of the categories 0 to "
            f"{levels[column] - 1}"
        )


def category_probabilities(model: Any, params: PyTree) -> list[np.ndarray]:
    """The probabilities of the categories of each column under each member, `[k, c_j]`; on the host."""
    family = getattr(model, "distribution", None) if isinstance(model, AbstractJoined) else None
    names = [] if family is None else _columns(family)
    if not names:
        name = type(model if family is None else family).__name__
        raise MissingCapabilityError(
            f"{name} does not say how many categories its columns have: this takes jaxem.Categorical, jaxem.Bernoulli, "
            "or a jaxem.Product of these with `columns`"
        )
    model.require_parameters(params)
    members = model.structure.split(params)[1]
    width = len(names) if isinstance(family, Product) else jax.tree.leaves(members)[0].shape[1]
    found = []
    for column in range(width):
        distribution: Any = marginal_of(family, members, column).distribution
        assert isinstance(distribution, Categories)
        found.append(np.asarray(distribution.probabilities, float))
    return found


def _columns(family: Any) -> list[Any]:
    """What is there for each column of a family of categories, or nothing if it is none."""
    if isinstance(family, IncompleteColumns):
        return _columns(family.family)
    if isinstance(family, Bernoulli | Categorical):
        return [family]
    if not isinstance(family, Product) or family.columns is None:
        return []
    parts = [(_columns(family.families[block]), which) for block, which in family.columns]
    return [own for own, which in parts for _ in which] if all(own for own, _ in parts) else []


def _given(levels: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    size = int(np.prod(shape))
    try:
        found = tuple(operator.index(each) for each in np.asarray(levels).reshape(-1).tolist())
    except TypeError:
        raise DataError(f"levels must be integers, one for each column, got {levels!r}") from None
    found = found * (size // len(found)) if found and size % len(found) == 0 else found
    if len(found) != size or min(found) < 1:
        raise DataError(f"levels must have a positive number for each of {shape[-1]} columns, got {levels!r}")
    return found
