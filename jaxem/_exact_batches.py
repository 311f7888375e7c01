"""Batches for exact passes: read ahead, checked in the first passes, and put on the device."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._batches import Reader, in_batch
from jaxem._errors import DataError
from jaxem._sampled import Extremes, Sampled
from jaxem.engine.door import one_row
from jaxem.engine.fingerprint import contents, sum_of_rows
from jaxem.engine.processes import gathered_trees, joined_rows, require_alike
from jaxem.kernels.chunks import num_rows
from jaxem.sources import AbstractSource
from jaxem.sources.ahead import ahead

_FEW = 1024  # rows of the sample that each batch is checked beside


class ExactBatches:
    """Passes over the batches of `reader`, which are the same each time. Batches without weight are left out.

    The first pass looks at each batch by itself, and keeps a sample of all rows. The second one checks each beside rows
    of all the others: what a table as a whole must satisfy, such as columns that vary, need not hold for a batch. With
    `together` every process has batches of its own, and is told of the rows of all once the first pass is over. Those
    that are wanted `in_turn` must come in the order of the first pass.
    """

    def __init__(
        self,
        reader: Reader,
        seed: list[int],
        on_batch: Callable[[int, int], None],
        digest: bool = False,
        together: bool = False,
        in_turn: bool = False,
    ):
        self.reader, self.on_batch, self.together = reader, on_batch, together
        self._known: list[str] | None = [] if in_turn else None
        self.digest = "" if digest else None  # of all rows, once the first pass is over
        self._summed, self.all_rows = np.zeros(2, np.uint64), 0
        seed = [*seed, jax.process_index()] if together else seed
        self.sampled, self._extremes = Sampled(seed), Extremes()
        self.rows = self.batches = 0  # of a pass
        self.dtype: Any = None
        self._beside: Any = None
        self._fault: str | None = None  # of the table as a whole

    def row(self) -> tuple[PyTree, np.ndarray]:
        """A row of zeros like those of all batches, and a weight of 0 for it."""
        return one_row(self.reader.first), np.zeros(1, self.dtype)

    def read(self, number: int) -> Generator[tuple[PyTree, Any]]:
        """The batches of pass `number` and weights `[r]`, on the device: all of one shape, but in the first pass."""
        seen = rows = 0
        with closing(ahead(partial(self._source, number))) as batches:
            for index, batch in enumerate(batches):
                with in_batch(index):
                    x, w = self._taken(batch, number)
                if w.any():
                    seen, rows = seen + 1, rows + len(w)
                    if number == 1:
                        self._check(index, x, w)
                    if self._known is not None:
                        self._require_known(seen - 1, x, w, number)
                    yield jax.device_put(self.reader.padded(x, w), may_alias=True)
                    self.on_batch(number, len(w))
        if number == 0:
            self.rows, self.batches = rows, seen
            if not rows:
                raise DataError("batches holds no rows, or none of positive weight")
        elif (seen, rows) != (self.batches, self.rows):
            raise DataError(
                f"batches gave {rows} rows in {seen} batches in pass {number + 1}, and {self.rows} in {self.batches} "
                "in the first: an exact run needs the same rows in every pass"
            )
        elif number == 1 and self._fault:
            raise DataError(self._fault)

    def after(self, number: int) -> None:
        """Look back on the first pass: at what batches are checked beside, and what is wrong with them as a whole."""
        if number:
            return
        extremes, self.all_rows = self._extremes.rows(), self.rows
        if self.together:
            require_alike("rows", str(jax.tree.map(lambda a: (a.shape[1:], a.dtype), self.reader.first)))
            self.sampled.join()
            extremes = [joined_rows(jax.tree.map(lambda *parts: np.concatenate(parts), *extremes))]
            rows, summed = zip(*gathered_trees((np.asarray(self.rows), self._summed)), strict=True)
            self.all_rows = int(sum(rows))
            self.digest = None if self.digest is None else str(np.sum(summed, 0, dtype=np.uint64).tolist())
        x = self.sampled.rows()[0]
        few = jax.tree.map(lambda *parts: np.concatenate(parts), *extremes, jax.tree.map(lambda a: a[:_FEW], x))
        self._beside = few, jax.tree.map(lambda *parts: np.concatenate(parts), *extremes, x)
        self._fault = self._found(self._beside[1])

    def _require_known(self, index: int, x: PyTree, w: np.ndarray, number: int) -> None:
        """Raise `DataError` for another batch than in the first pass, as its length and three of its rows tell."""
        assert self._known is not None
        some = np.array([0, len(w) // 2, len(w) - 1])
        own = contents(len(w), jax.tree.map(lambda a: a[some], (x, w)))
        if number == 0:
            self._known.append(own)
        elif index >= len(self._known) or own != self._known[index]:
            raise DataError(
                f"batches: batch {index} of pass {number + 1} is not that of the first pass. Incremental EM keeps "
                "statistics of each batch: give the same ones in the same order, jaxem.batches(...) without a key"
            )

    def _source(self, number: int) -> Iterable[Any]:
        source, batches = self.reader.source(number), self.reader.batches
        # Others may fill one buffer again and again.
        return source if isinstance(batches, AbstractSource | list | tuple) else map(_copied, source)

    def _taken(self, batch: Any, number: int) -> tuple[PyTree, np.ndarray]:
        reader = self.reader
        if reader.first is None and _without_weight(batch):
            return (), np.zeros(0)
        x, w = reader.converted(batch, again=number > 0)
        if number == 0 and w.any():
            reader.model.check_rows(x)
            if reader.first is None:
                reader.first, self.dtype = jax.tree.map(lambda a: np.array(a[:1]), x), w.dtype
            self.sampled.add(x, w)
            self._extremes.add(x)
            if self.digest is not None and self.together:
                self._summed += sum_of_rows((x, w))
            elif self.digest is not None:
                self.digest = contents(self.digest, x, w)
        return x, w

    def _found(self, *tables: PyTree) -> str | None:
        """What the model finds wrong with these tables as one."""
        x = tables[0] if len(tables) == 1 else jax.tree.map(lambda *parts: np.concatenate(parts), *tables)
        try:
            self.reader.model.check(x, np.ones(num_rows(x), self.dtype))
        except DataError as error:
            return str(error)
        return None

    def _check(self, index: int, x: PyTree, w: np.ndarray) -> None:
        found = self._found(x, self._beside[0])
        if found not in (None, self._fault):
            # A fault that rows of other batches have is found where these are.
            found = self._found(x) if self._fault else self._found(x, self._beside[1])
        if found is not None:
            raise DataError(found if found == self._fault else f"batch {index}: {found}")


def _without_weight(batch: Any) -> bool:
    if not (type(batch) is tuple and len(batch) == 2 and batch[1] is not None):
        return False
    return not np.any(np.asarray(batch[1]) != 0)


def _copied(batch: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, batch)
