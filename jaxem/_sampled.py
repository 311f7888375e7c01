"""What is kept of the rows of a first pass: some drawn uniformly, and those at which a column is least or largest."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem.engine.processes import joined_rows

MOST_ROWS = 2**15  # that are drawn
_MOST_NUMBERS = 2**24  # in them, but for the fewest rows
_FEWEST_ROWS = 2**10


class Sampled:
    """Rows of positive weight, each as likely as any other; all of them in their order, if there are no more than fit.

    A row is drawn by a random number of its own, of which the least are kept. So it is the same sample however the rows
    are cut into batches.
    """

    def __init__(self, seed: list[int]):
        self._random = np.random.default_rng(seed)
        self._rows: list[PyTree] = []
        self._weights: list[np.ndarray] = []
        self._drawn: list[np.ndarray] = []
        self._bound, self._held, self.most = np.inf, 0, 0

    def add(self, x: PyTree, w: np.ndarray) -> None:
        if not self.most:
            each = sum(leaf[0].size for leaf in jax.tree.leaves(x))
            self.most = min(max(_MOST_NUMBERS // max(each, 1), _FEWEST_ROWS), MOST_ROWS)
        drawn = self._random.random(len(w))
        index = np.flatnonzero((w > 0) & (drawn < self._bound))
        self._rows.append(jax.tree.map(lambda a: a[index], x))
        self._weights.append(w[index])
        self._drawn.append(drawn[index])
        self._held += len(index)
        if self._held > 2 * self.most:
            self._rows, self._weights, self._drawn = ([part] for part in self._least())
            self._held = self.most
            self._bound = float(self._drawn[0].max())

    def _least(self) -> tuple[PyTree, np.ndarray, np.ndarray]:
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *self._rows)
        weights, drawn = np.concatenate(self._weights), np.concatenate(self._drawn)
        if len(drawn) > self.most:
            index = np.sort(np.argpartition(drawn, self.most - 1)[: self.most])
            rows, weights, drawn = jax.tree.map(lambda a: a[index], rows), weights[index], drawn[index]
        return rows, weights, drawn

    def join(self) -> None:
        """Make it a sample of the rows of all processes, the same in each."""
        self._rows, self._weights, self._drawn = ([part] for part in joined_rows(self._least()))

    def rows(self) -> tuple[PyTree, np.ndarray]:
        """The rows that were drawn, in their order, and their weights."""
        return self._least()[:2]


class Extremes:
    """For each column, a row at which it is least and one at which it is largest: evidence that it varies."""

    def __init__(self) -> None:
        self._best: list[np.ndarray] = []  # for each array, [2, columns]: minus the least, and the largest
        self._rows: dict[tuple[int, int, int], PyTree] = {}

    def add(self, x: PyTree) -> None:
        for i, leaf in enumerate(jax.tree.leaves(x)):
            columns = leaf.reshape(len(leaf), -1, leaf.shape[-1] if leaf.ndim > 1 else 1)
            for side, sign in enumerate((-1, 1)):
                values = np.where(np.isnan(columns), -np.inf, sign * columns).max(1)
                where = values.argmax(0)
                found = values[where, np.arange(values.shape[1])]
                if i == len(self._best):
                    self._best.append(np.full((2, values.shape[1]), -np.inf))
                for j in np.flatnonzero(found > self._best[i][side]):
                    row: Any = slice(where[j], where[j] + 1)
                    self._rows[i, side, int(j)] = jax.tree.map(lambda a: np.array(a[row]), x)  # noqa: B023
                self._best[i][side] = np.maximum(found, self._best[i][side])

    def rows(self) -> list[PyTree]:
        return list(self._rows.values())
