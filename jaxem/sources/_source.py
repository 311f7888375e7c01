"""What a stream asks of a source of batches, and how tables of any length are cut into batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._errors import DataError

Batch = tuple[PyTree, Any]  # rows, and their weights or `None`


class AbstractSource(ABC):
    """Batches of rows that can be gone through again and again. Iterating gives those of a first pass."""

    text: ClassVar[bool] = False  # numbers are read from text, and have no precision of their own
    rows: int  # the most rows in a batch

    @property
    @abstractmethod
    def total_weight(self) -> float | None:
        """The weight of all rows, where that is known without a pass."""

    @abstractmethod
    def __len__(self) -> int:
        """How many batches there are; 0 where that takes a pass to know."""

    @abstractmethod
    def blocks(self, number: int) -> Iterator[Batch]:
        """The batches in the order of pass `number`; nobody else writes to their arrays."""

    def __iter__(self) -> Iterator[Batch]:
        return self.blocks(0)


def edges_of(n: int, rows: int) -> np.ndarray:
    """Where `n` rows are cut into batches of at most `rows`, of the same size to within a row."""
    return np.linspace(0, n, -(-n // rows) + 1).astype(np.int64)


def seed_of(key: PRNGKeyArray | None) -> list[int] | None:
    """What NumPy takes for a seed."""
    return None if key is None else np.asarray(jax.random.key_data(key)).ravel().tolist()


def shuffled(count: int, seed: list[int] | None, number: int) -> np.ndarray:
    """The numbers below `count` in the order of pass `number`: as they are without a `seed`."""
    order = np.arange(count)
    if seed is not None:
        np.random.default_rng([*seed, number]).shuffle(order)
    return order


def recut(pieces: Iterable[PyTree], sizes: Iterable[int]) -> Iterator[PyTree]:
    """Trees of arrays with these numbers of rows from `pieces` of any; the last may be shorter."""
    held: list[list[np.ndarray]] = []
    count, structure, wanted = 0, None, iter(sizes)
    size = next(wanted, 0)
    for piece in pieces:
        leaves, structure = jax.tree.flatten(piece)
        n, first = len(leaves[0]), 0
        while size and count + n - first >= size:
            last = first + size - count
            held.append([leaf[first:last] for leaf in leaves])
            yield jax.tree.unflatten(structure, _joined(held))
            held, count, first, size = [], 0, last, next(wanted, 0)
        if first < n:
            held.append([leaf[first:] for leaf in leaves])
            count += n - first
    if count:
        assert structure is not None
        yield jax.tree.unflatten(structure, _joined(held))


def _joined(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [leaves[0] if len(parts) == 1 else np.concatenate(leaves) for leaves in zip(*parts, strict=True)]


def in_tables(columns: Any, name: str = "columns") -> Any:
    """Names of columns as a tree of names and lists of them, each of which becomes an array; `None` for all."""
    if columns is None or isinstance(columns, str):
        return columns
    if isinstance(columns, list) or type(columns) is tuple:
        if not columns or not all(isinstance(column, str) for column in columns):
            raise DataError(f"{name} must be names of columns, got {columns!r}")
        return list(columns)
    if isinstance(columns, dict):
        return {key: in_tables(value, f"{name}[{key!r}]") for key, value in columns.items()}
    if hasattr(columns, "_fields"):
        fields = zip(columns._fields, columns, strict=True)
        return columns._replace(
            **{field: in_tables(value, f"{name}.{field}") for field, value in fields if value is not None}
        )
    raise DataError(
        f"{name} must be a list of names, one name, or such in a dictionary or a named tuple, got {columns!r}"
    )


def names_in(tables: Any) -> list[str]:
    """All names in such a tree, each once."""
    leaves = jax.tree.leaves(tables, is_leaf=lambda leaf: isinstance(leaf, list))
    return list(dict.fromkeys(name for leaf in leaves for name in ([leaf] if isinstance(leaf, str) else leaf)))


def as_tables(tables: Any, columns: dict[str, np.ndarray]) -> PyTree:
    """The arrays of such a tree: a table `[r, d]` for a list of names, what the column holds for one."""

    def of(leaf: Any) -> np.ndarray:
        if isinstance(leaf, str):
            return columns[leaf]
        found = [columns[name] for name in leaf]
        if {a.ndim for a in found} != {1}:
            raise DataError(f"columns {', '.join(leaf)}: one of them holds lists; such a column is taken by itself")
        # NumPy makes float64 of integers beside float32.
        kinds = {a.dtype.kind for a in found}
        return np.stack(found if len(kinds) == 1 else [a.astype(np.float64) for a in found], 1)

    return jax.tree.map(of, tables, is_leaf=lambda leaf: isinstance(leaf, list))


def arrow(module: str, what: str) -> Any:
    """A module of pyarrow, to read `what`."""
    try:
        return import_module(f"pyarrow.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(f"{what} are read by pyarrow, which is not installed: pip install 'jaxem[arrow]'") from error


def numbers(column: Any, name: str) -> np.ndarray:
    """A column as an array `[r]`, or `[r, d]` where it holds lists of one length; null is NaN."""
    types, kind = arrow("types", "such columns"), column.type
    if types.is_fixed_size_list(kind):
        if column.null_count:
            raise DataError(f"column {name!r} has a list that is missing")
        return numbers(column.flatten(), name).reshape(len(column), kind.list_size)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_decimal(kind):
        column = column.cast("float64")
    elif not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)):
        raise DataError(f"column {name!r} holds values of type {kind}, not numbers; leave it out of `columns`")
    if types.is_boolean(kind) and column.null_count:
        column = column.cast("uint8")
    # A copy unless there is nothing to convert; nobody writes to either.
    return column.to_numpy(zero_copy_only=False)


def require_columns(wanted: list[str], there: list[str], path: Any) -> None:
    """Raise `DataError` for a name that the file does not have, or that several of its columns have."""
    for name in wanted:
        if there.count(name) > 1:
            raise DataError(f"{path} has {there.count(name)} columns {name!r}")
        if name not in there:
            shown = ", ".join(map(repr, there[:12])) + ", ..." * (len(there) > 12)
            raise DataError(f"{path} has no column {name!r}; it has {shown}")
