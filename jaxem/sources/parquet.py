"""Batches of rows of Parquet files, which are read a row group at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._errors import DataError
from jaxem.sources._source import (
    AbstractSource,
    arrow,
    as_tables,
    edges_of,
    in_tables,
    names_in,
    numbers,
    recut,
    require_columns,
    seed_of,
    shuffled,
)


@final
class Parquet(AbstractSource):
    """Rows of one or several files. With a `key` their row groups come in an order drawn anew for each pass."""

    def __init__(self, paths: Sequence[Path], rows: int, columns: Any, weights: str | None, key: PRNGKeyArray | None):
        self._parquet: Any = arrow("parquet", "Parquet files")
        self.paths, self.weights, self.seed = list(paths), weights, seed_of(key)
        self.groups: list[tuple[Path, int]] = []
        n = 0
        for i, path in enumerate(self.paths):
            with self._opened(path) as file:
                there = file.schema_arrow.names
                n += file.metadata.num_rows
                self.groups += [(path, group) for group in range(file.num_row_groups)]
            if i == 0:
                every = [name for name in there if name != weights]
                self.tables = in_tables(every if columns is None else columns)
                self.names = names_in((self.tables, weights or []))
            require_columns(self.names, there, path)
        if n == 0:
            raise DataError(f"{self.paths[0]} is empty: it has 0 rows")
        self.num_rows, self.sizes = n, np.diff(edges_of(n, rows))
        self.rows = int(self.sizes.max())

    def _opened(self, path: Path) -> Any:
        try:
            return self._parquet.ParquetFile(path)
        except ValueError as error:  # of which those of Arrow are
            raise DataError(f"{path} is no Parquet file: {error}") from None

    @property
    def total_weight(self) -> float | None:
        return float(self.num_rows) if self.weights is None else None

    def __len__(self) -> int:
        return len(self.sizes)

    def blocks(self, number):
        order = [self.groups[i] for i in shuffled(len(self.groups), self.seed, number)]
        for rows in recut(self._pieces(order), self.sizes.tolist()):
            yield rows if self.weights is not None else (rows[0], None)

    def _pieces(self, order: list[tuple[Path, int]]) -> Iterator[tuple[PyTree, Any]]:
        opened: dict[Path, Any] = {}
        try:
            for path, group in order:
                if path not in opened:
                    opened[path] = self._opened(path)
                found = opened[path].iter_batches(batch_size=self.rows, row_groups=[group], columns=self.names)
                for piece in found:
                    columns = {name: numbers(piece.column(name), name) for name in self.names}
                    yield as_tables(self.tables, columns), () if self.weights is None else columns[self.weights]
        finally:
            for file in opened.values():
                file.close()
