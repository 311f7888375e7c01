"""The door of data that several processes share: each looks at its own rows, and all hear of a fault in any."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._sampled import Extremes
from jaxem.engine.convert import as_weights
from jaxem.engine.processes import (
    agreed,
    gathered,
    is_shared,
    joined_rows,
    own_numbers,
    own_rows,
    require_alike,
)
from jaxem.engine.weights import Span, with_copies
from jaxem.kernels.chunks import num_rows

_FEW = 256  # rows that each process shows the others
_ENOUGH = 2**16  # rows are counted no further where it is asked whether there are enough


class Shared(NamedTuple):
    """The rows of this process and their weights, on the host; what is known of those of all processes.

    `first` is the number, among all rows, of the first that has a positive weight, `present` how many have one.
    """

    rows: PyTree
    weights: np.ndarray | None
    span: Span
    first: int
    present: int
    all_present: bool


def look_at(data: PyTree, weights: Any) -> Shared:
    """What this process has of `data` and `weights`: these are spread like the rows, or are its own rows' alone."""
    leaves = jax.tree.leaves(data)

    def own() -> tuple[PyTree, np.ndarray | None]:
        if not all(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
            raise DataError(
                "one table in data is spread over processes and another is not: make all of them by "
                "jax.make_array_from_process_local_data"
            )
        rows = own_rows(data)
        if weights is None:
            return rows, None
        spread = isinstance(weights, jax.Array) and not weights.is_fully_addressable
        found = own_rows(weights) if spread else weights
        return rows, as_weights(found, num_rows(rows), None, some=False)

    rows, w = agreed(own)
    numbers = own_numbers(leaves[0])
    present = np.ones(len(numbers), bool) if w is None else w > 0
    first = int(numbers[np.argmax(present)]) if present.any() else leaves[0].shape[0]
    spans = gathered(np.asarray([*Span.of(present if w is None else w), first, present.sum(), present.all()], float))
    if not spans[:, 4].any():
        raise DataError("weights sum to zero; at least one row needs a positive weight")
    counts = (int(spans[:, 3].min()), int(spans[:, 4].sum()), bool(spans[:, 5].all()))
    return Shared(rows, w, Span.around(spans[:, :3]), *counts)


def of_all_rows(name: str, values: Any, data: PyTree) -> np.ndarray:
    """A number or label `[n]` for each of all rows, in every process: they are spread like the rows of `data`, or are
    those of its own rows."""
    leaf = jax.tree.leaves(data)[0]
    numbers = own_numbers(leaf)

    def own() -> np.ndarray:
        found = own_rows(values) if is_shared(values) else np.asarray(values)
        if found.shape != numbers.shape:
            raise DataError(
                f"{name} must be {len(numbers)} values, one for each row of this process, or be spread like the rows, "
                f"got shape {found.shape}"
            )
        return found if found.dtype.kind in "biuf" else found.astype(str)

    found = agreed(own)
    require_alike(name, found.dtype.kind)
    size = int(gathered(np.asarray([found.dtype.itemsize])).max())
    found = found.astype(f"{found.dtype.kind}{size // 4 if found.dtype.kind == 'U' else size}")
    numbers, found = joined_rows((numbers, found))
    out = np.empty(leaf.shape[0], found.dtype)
    out[numbers] = found
    return out


def check_fit(model: Any, found: Shared) -> None:
    """Raise `DataError`, in all processes, for rows that the model cannot be fitted to.

    Each row is looked at where it lies. What a table as a whole must satisfy is asked of some rows of every process,
    those at which a column is least or largest among them.
    """
    own = _present(found)
    _check_rows(model, own)
    table, count = _stand_ins(own), min(found.present, _ENOUGH)
    index = np.arange(max(num_rows(table), count))
    # As many count as there are; all of them are looked at.
    model.check(jax.tree.map(lambda leaf: leaf[index % num_rows(table)], table), (index < count).astype(float))


def check_question(model: Any, found: Shared) -> None:
    """Raise `DataError`, in all processes, for rows that have no density."""
    _check_rows(model, _present(found))


def _check_rows(model: Any, own: PyTree) -> None:
    agreed(lambda: model.check_rows(own) if num_rows(own) else None)


def _present(found: Shared) -> PyTree:
    """The rows of positive weight of this process; one of them for each of the others. None, if none has one."""
    if found.weights is None:
        return found.rows
    present = found.weights > 0
    return with_copies(found.rows, present) if present.any() else jax.tree.map(lambda leaf: leaf[:0], found.rows)


def _stand_ins(own: PyTree) -> PyTree:
    """A few rows of every process, the same table in each of them."""
    extremes = Extremes()
    if num_rows(own):
        extremes.add(own)
    few = jax.tree.map(lambda leaf: leaf[:_FEW], own)
    some = jax.tree.map(lambda *parts: np.concatenate(parts), *extremes.rows(), few)
    return joined_rows(some)
