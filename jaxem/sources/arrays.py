"""Batches of rows of arrays: in memory, or mapped from a file."""

from pathlib import Path
from typing import Any, final

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._errors import DataError
from jaxem.engine.door import count_rows
from jaxem.sources._source import AbstractSource, edges_of, seed_of, shuffled


@final
class Batches(AbstractSource):
    """Blocks of consecutive rows of arrays."""

    def __init__(self, data: PyTree, rows: int, key: PRNGKeyArray | None, weights: Any):
        for leaf in jax.tree.leaves(data):
            if not getattr(leaf, "shape", ()):
                raise DataError(
                    f"data must be an array or a tree of arrays, to read slices of, or the path of a file, got "
                    f"{type(data).__name__}"
                )
        n = count_rows(data)
        if weights is not None and np.shape(weights) != (n,):
            raise DataError(f"weights must be {n} numbers, one for each row, got shape {np.shape(weights)}")
        self.data, self.weights = data, weights
        self.edges = edges_of(n, rows)
        self.rows, self.seed = int(np.diff(self.edges).max()), seed_of(key)

    @property
    def total_weight(self) -> float:
        return float(self.edges[-1] if self.weights is None else np.sum(self.weights))

    def __len__(self) -> int:
        return len(self.edges) - 1

    def blocks(self, number):
        for i in shuffled(len(self), self.seed, number):
            part = slice(int(self.edges[i]), int(self.edges[i + 1]))
            rows = jax.tree.map(lambda a: np.array(a[part]), self.data)  # noqa: B023
            yield rows, None if self.weights is None else np.array(self.weights[part])


def mapped(path: Path) -> np.ndarray:
    """The array in a `.npy` file, of which what is looked at is read."""
    try:
        return np.load(path, mmap_mode="r")
    except ValueError as error:
        raise DataError(f"{path} holds no array that can be mapped: {error}") from None
