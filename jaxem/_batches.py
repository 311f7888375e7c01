"""Rows in batches: blocks read from an array that need not fit in memory; batches checked and padded to a shape."""

import math
from collections.abc import Iterator
from typing import Any, final

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem.engine.convert import as_data, as_weights, float_dtype
from jaxem.engine.door import count_rows, require_no_fork, without_absent
from jaxem.kernels.chunks import num_rows


@final
class Batches:
    """What `batches` returns: iterating gives the blocks of a first pass, `len` is their number."""

    def __init__(self, data: PyTree, rows: int, key: PRNGKeyArray | None, weights: Any):
        rows = as_count("rows", rows)
        for leaf in jax.tree.leaves(data):
            if not getattr(leaf, "shape", ()):
                raise DataError(
                    f"data must be an array or a tree of arrays, to read slices of, got {type(data).__name__}"
                )
        n = count_rows(data)
        if weights is not None and np.shape(weights) != (n,):
            raise DataError(f"weights must be {n} numbers, one for each row, got shape {np.shape(weights)}")
        self.data, self.weights = data, weights
        self.edges = np.linspace(0, n, math.ceil(n / rows) + 1).astype(np.int64)
        self.rows = int(np.diff(self.edges).max())
        self.seed = None if key is None else np.asarray(jax.random.key_data(key)).tolist()
        self.total_weight = float(n if weights is None else np.sum(weights))

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[tuple[PyTree, Any]]:
        return self.blocks(0)

    def blocks(self, number: int) -> Iterator[tuple[PyTree, Any]]:
        """Pairs of rows and weights (or `None`), in the order of pass `number`."""
        order = np.arange(len(self))
        if self.seed is not None:
            np.random.default_rng([*self.seed, number]).shuffle(order)
        for i in order:
            part = slice(int(self.edges[i]), int(self.edges[i + 1]))
            yield jax.tree.map(lambda a: a[part], self.data), None if self.weights is None else self.weights[part]  # noqa: B023


def batches(data: PyTree, rows: int, key: PRNGKeyArray | None = None, *, weights: Any = None) -> Batches:
    """Blocks of consecutive rows, read one at a time, for `jaxem.fit_stream`.

    **Arguments:**

    - `data`: a table `[n, d]` such as a `numpy.memmap` (or a dictionary of tables); only slices of it are read.
    - `rows`: the most rows in a block. Blocks have the same size, to within a row.
    - `key`: the order of the blocks is drawn anew for each pass; without one they come in their order. Rows stay in
        their blocks: shuffle data on disk that are sorted.
    - `weights`: a weight for each row, `[n]`.

    **Example**

    >>> import jaxem, numpy as np
    >>> [len(x) for x, weights in jaxem.batches(np.zeros((10, 2)), rows=4)]
    [3, 3, 4]
    """
    return Batches(data, rows, key, weights)


class Reader:
    """Passes over batches that come checked, in one precision, and padded to one number of rows with weight zero.

    `batches` is a `Batches`, a callable that returns a fresh iterator, or an iterable; a batch is rows, or a pair of
    rows and weights. A batch larger than all before it sets a new shape.
    """

    def __init__(self, model: AbstractModel, batches: Any, passes: int):
        self.model, self.batches = model, batches
        self.rows = batches.rows if isinstance(batches, Batches) else 1
        self.first: Any = None  # the first batch: what others must look like
        if not callable(batches) and not hasattr(batches, "__iter__"):
            raise DataError(f"batches must be an iterable or return one when called, got {type(batches).__name__}")
        if passes > 1 and not callable(batches) and iter(batches) is batches:
            raise DataError(
                f"batches is an iterator, which can be read once, and {passes} passes are needed (`score` takes one "
                "more): give a callable that returns a fresh iterator, a list, or jaxem.batches(...)"
            )

    @property
    def total_weight(self) -> float | None:
        """The weight of a pass, if it is known beforehand."""
        return self.batches.total_weight if isinstance(self.batches, Batches) else None

    def __len__(self) -> int:
        """Batches in a pass; 0 if not known beforehand."""
        return len(self.batches) if hasattr(self.batches, "__len__") else 0

    def read(self, number: int) -> Iterator[tuple[PyTree, np.ndarray, int]]:
        """Rows `[r, ...]`, weights `[r]`, and how many rows are not padding."""
        source: Any
        if isinstance(self.batches, Batches):
            source = self.batches.blocks(number)
        else:
            source = self.batches() if callable(self.batches) else self.batches
        for index, batch in enumerate(source):
            try:
                x, w = self._checked(batch)
            except DataError as error:
                raise DataError(f"batch {index}: {error}") from None
            count = len(w)
            if count:
                self.rows = max(self.rows, count)
                extra = self.rows - count
                # Padded with copies: a row of zeros need not be one that the model can take.
                yield jax.tree.map(lambda a: _padded(a, extra), x), np.pad(w, (0, extra)), count  # noqa: B023

    def _checked(self, batch: Any) -> tuple[PyTree, np.ndarray]:
        rows, weights = batch if type(batch) is tuple and len(batch) == 2 else (batch, None)
        require_no_fork()
        x = jax.tree.map(np.asarray, as_data(rows, warn=self.first is None))
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
        x = without_absent(x, w) if w.any() else x
        if self.first is None:
            self.model.check(x, w)
            self.first = jax.tree.map(np.array, x)
        elif n:
            # Beside the first batch: what a table as a whole must satisfy (columns that vary) holds for that one.
            both = jax.tree.map(lambda a, b: np.concatenate([a, b]), x, self.first)
            self.model.check(both, np.concatenate([w, np.ones(num_rows(self.first), dtype)]))
        return x, w


def _padded(a: np.ndarray, extra: int) -> np.ndarray:
    return np.concatenate([a, np.broadcast_to(a[:1], (extra, *a.shape[1:]))]) if extra else a
