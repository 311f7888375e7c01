"""Batches of rows for a stream: where they come from, and how they are checked and padded to one shape."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem.engine.convert import as_data, as_weights, float_dtype
from jaxem.engine.door import require_no_fork, without_absent
from jaxem.kernels.chunks import num_rows
from jaxem.sources import AbstractSource, Batches, Delimited, Parquet
from jaxem.sources.arrays import mapped

_SCORE = " (`score` takes one more)"
_PARQUET, _TEXT = (".parquet", ".pq"), (".csv", ".tsv")


def batches(
    data: Any, rows: int, key: PRNGKeyArray | None = None, *, columns: Any = None, weights: Any = None
) -> AbstractSource:
    """Batches of consecutive rows, read one at a time, for `jaxem.fit_stream`.

    **Arguments:**

    - `data`: a table `[n, d]` such as a `numpy.memmap` (or a tree of arrays with a common leading axis), of which only
        slices are read; or the path of a file: `.npy`, which is mapped; `.parquet` (or a list of such files with the
        same columns), read by row groups; `.csv` or `.tsv`, perhaps packed (`.csv.gz`), with names in the first line.
        Parquet and text are read by pyarrow: `pip install 'jaxem[arrow]'`.
    - `rows`: the most rows in a batch. Batches have the same size, to within a row; those of text have as many, but
        for the last.
    - `key`: the order of the batches (of a Parquet file: of its row groups) is drawn anew for each pass; without one
        they come in their order. Rows stay where they are within: shuffle data on disk that are sorted.
    - `columns`: of Parquet and text: a list of names for a table `[n, d]`; one name for a column `[n]`, or for a
        table where the column holds lists of one length; or a dictionary or named tuple of these, such as
        `jaxem.Responses(["age", "dose"], "effect")`. By default a table of all but the weights. Null is NaN.
    - `weights`: a weight for each row: an array `[n]`, or the name of a column of Parquet and text.

    **Raises:** `DataError`, also for a column that is missing or holds no numbers; `ImportError` without pyarrow.

    **Example**

    >>> import jaxem, numpy as np
    >>> [len(x) for x, weights in jaxem.batches(np.zeros((10, 2)), rows=4)]
    [3, 3, 4]
    """
    rows, paths = as_count("rows", rows), _paths(data)
    kinds = {_kind(path) for path in paths}
    if paths and kinds <= {"parquet", "text"} and not (weights is None or isinstance(weights, str)):
        raise DataError("weights must be the name of a column of the file, got an array")
    if kinds == {"parquet"}:
        return Parquet(paths, rows, columns, weights, key)
    if len(paths) > 1:
        raise DataError(f"data holds {len(paths)} paths; only Parquet files can be read one after the other")
    if kinds == {"text"}:
        if key is not None:
            raise DataError("key: a text table is read from its beginning, in no other order; leave key out")
        return Delimited(paths[0], rows, columns, weights)
    if columns is not None or isinstance(weights, str):
        raise DataError(f"{'weights' if columns is None else 'columns'}: names are for Parquet and text tables")
    return Batches(mapped(paths[0]) if paths else data, rows, key, weights)


def _paths(data: Any) -> list[Path]:
    given: list[Any] = data if isinstance(data, list) and data else [data]
    return [Path(one) for one in given] if all(isinstance(one, str | Path) for one in given) else []


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    for kind, known in (("parquet", _PARQUET), ("text", _TEXT), ("npy", (".npy",))):
        if last and last[0] in known:
            return kind
    raise DataError(
        f"data is the path {str(path)!r}, of which the end says no format: .npy, {', '.join(_PARQUET + _TEXT)}, or "
        "open it yourself and pass arrays or batches"
    )


class Reader:
    """Passes over batches that come checked, in one precision, and padded to one number of rows with weight zero.

    `batches` is a source, a callable that returns a fresh iterator, or an iterable; a batch is rows, or a pair of rows
    and weights. A batch larger than all before it sets a new shape.
    """

    def __init__(self, model: AbstractModel, batches: Any, passes: int, *, restartable: bool = False):
        self.model, self.batches = model, batches
        self.rows = batches.rows if isinstance(batches, AbstractSource) and len(batches) else 1
        self.first: Any = None  # the first batch: what others must look like
        if isinstance(batches, str | Path):
            raise DataError(f"batches is the path {str(batches)!r}: pass jaxem.batches({str(batches)!r}, rows=...)")
        if not callable(batches) and not hasattr(batches, "__iter__"):
            raise DataError(f"batches must be an iterable or return one when called, got {type(batches).__name__}")
        if (passes > 1 or restartable) and not callable(batches) and iter(batches) is batches:
            needed = "and an exact run needs many passes" if restartable else f"and {passes} passes are needed"
            raise DataError(
                f"batches is an iterator, which can be read once, {needed}{'' if restartable else _SCORE}: give a "
                "callable that returns a fresh iterator, a list, or jaxem.batches(...)"
            )

    @property
    def total_weight(self) -> float | None:
        """The weight of a pass, if it is known beforehand."""
        return self.batches.total_weight if isinstance(self.batches, AbstractSource) else None

    def __len__(self) -> int:
        """Batches in a pass; 0 if not known beforehand."""
        return len(self.batches) if hasattr(self.batches, "__len__") else 0

    def source(self, number: int) -> Iterable[Any]:
        """The batches of a pass, as they come."""
        if isinstance(self.batches, AbstractSource):
            return self.batches.blocks(number)
        return self.batches() if callable(self.batches) else self.batches  # pyright: ignore[reportReturnType]

    def read(self, number: int) -> Iterator[tuple[PyTree, np.ndarray, int]]:
        """Rows `[r, ...]`, weights `[r]`, and how many rows are not padding."""
        for index, batch in enumerate(self.source(number)):
            with in_batch(index):
                x, w = self.converted(batch)
                self._check(x, w)
            if len(w):
                yield *self.padded(x, w), len(w)

    def padded(self, x: PyTree, w: np.ndarray) -> tuple[PyTree, np.ndarray]:
        """A batch filled up with rows of weight zero."""
        self.rows = max(self.rows, len(w))
        extra = self.rows - len(w)
        # Padded with copies: a row of zeros need not be one that the model can take.
        return jax.tree.map(lambda a: _padded(a, extra), x), np.pad(w, (0, extra))

    def converted(self, batch: Any, *, again: bool = False) -> tuple[PyTree, np.ndarray]:
        """Rows and weights as arrays like those of the first batch; rows of weight 0 as copies of one that counts.

        What comes `again` has been looked at: numbers in another precision are converted as they are.
        """
        rows, weights = batch if type(batch) is tuple and len(batch) == 2 else (batch, None)
        require_no_fork()
        warn = self.first is None and not getattr(self.batches, "text", False)
        known = again and all(type(leaf) is np.ndarray and leaf.dtype.kind == "f" for leaf in jax.tree.leaves(rows))
        x = rows if known else jax.tree.map(np.asarray, as_data(rows, warn=warn))
        if any(leaf.ndim == 0 for leaf in jax.tree.leaves(x)):
            raise DataError("data has no rows")
        n, dtype = num_rows(x), float_dtype(x)
        if self.first is not None:
            dtype = float_dtype(self.first)
            x = jax.tree.map(lambda a, b: a.astype(b.dtype, copy=False), x, self.first)
            shapes = [jax.tree.map(lambda a: a.shape[1:], tree) for tree in (x, self.first)]
            if shapes[0] != shapes[1]:
                raise DataError(f"data has rows of shape {shapes[0]}, and those of the first batch {shapes[1]}")
        without = weights is not None and self.first is not None and not np.any(np.asarray(weights) != 0)
        w = np.zeros(n, dtype) if without else as_weights(weights, n, dtype)
        w = np.ones(n, dtype) if w is None else w
        return without_absent(x, w) if w.any() else x, w

    def _check(self, x: PyTree, w: np.ndarray) -> None:
        if self.first is None:
            self.model.check(x, w)
            self.first = jax.tree.map(np.array, x)
        elif len(w):
            # Beside the first batch: what a table as a whole must satisfy (columns that vary) holds for that one.
            both = jax.tree.map(lambda a, b: np.concatenate([a, b]), x, self.first)
            self.model.check(both, np.concatenate([w, np.ones(num_rows(self.first), w.dtype)]))


@contextmanager
def in_batch(index: int) -> Iterator[None]:
    """Has a `DataError` say which batch it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"batch {index}: {error}") from None


def _padded(a: np.ndarray, extra: int) -> np.ndarray:
    return np.concatenate([a, np.broadcast_to(a[:1], (extra, *a.shape[1:]))]) if extra else a
