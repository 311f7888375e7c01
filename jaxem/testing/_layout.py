"""Rows as numbers: what of a row is random, and rows with other numbers there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem.families import Interval, Responses
from jaxem.testing._problem import take


class Layout(NamedTuple):
    """`read(rows)` gives the random numbers of each row, `[m, q]`; `write(numbers)` makes rows of these."""

    read: Callable[[PyTree], np.ndarray]
    write: Callable[[np.ndarray], PyTree]


def layouts(rows: PyTree, most: int = 2) -> list[Layout]:
    """The layout of a table, a dictionary of tables, or an `Interval`.

    Several of `Responses`, each at the covariates of one row. None for rows of other kinds: what is random in them is
    not known.
    """
    if isinstance(rows, Responses):
        index = np.unique(np.linspace(0, len(rows.x) - 1, most).astype(int))
        return [_response(take(rows, slice(i, i + 1))) for i in index]
    found = _table(rows)
    return [] if found is None else [found]


def _table(rows: PyTree) -> Layout | None:
    if isinstance(rows, Interval):
        inside = _table(rows.lower)
        assert inside is not None
        return Layout(lambda rows: inside.read(_middle(rows)), lambda numbers: _exact(inside.write(numbers)))
    if isinstance(rows, dict):
        parts = {name: _table(own) for name, own in rows.items()}
        if not parts or any(part is None for part in parts.values()):
            return None
        return _joined(rows, parts)
    if getattr(rows, "ndim", 0) < 1 or not jnp.issubdtype(rows.dtype, jnp.number):
        return None
    shape, dtype = rows.shape[1:], rows.dtype
    return Layout(
        lambda rows: np.asarray(rows, float).reshape(len(rows), -1),
        lambda numbers: jnp.asarray(np.asarray(numbers).reshape(len(numbers), *shape), dtype),
    )


def _joined(rows: dict[str, Any], parts: dict[str, Any]) -> Layout:
    ends = np.cumsum([parts[name].read(rows[name]).shape[1] for name in parts])[:-1]

    def read(rows):
        return np.concatenate([parts[name].read(rows[name]) for name in parts], 1)

    def write(numbers):
        split = np.split(np.asarray(numbers), ends, 1)
        return {name: parts[name].write(own) for name, own in zip(parts, split, strict=True)}

    return Layout(read, write)


def _response(row: Responses) -> Layout:
    inside = _table(row.y)
    assert inside is not None

    def write(numbers):
        fixed = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(numbers), *leaf.shape[1:])), (row.x, row.size))
        return Responses(fixed[0], inside.write(numbers), fixed[1])

    return Layout(lambda rows: inside.read(rows.y), write)


def _middle(rows: Interval) -> np.ndarray:
    return np.asarray(rows.point)


def _exact(values: Any) -> Interval:
    return Interval(values, values)
