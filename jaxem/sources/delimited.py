"""Batches of rows of text tables: comma- or tab-separated, read from the beginning."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem.sources._source import AbstractSource, arrow, as_tables, in_tables, names_in, numbers, recut, require_columns

_BYTES = 2**22  # of text that are read at a time


@final
class Delimited(AbstractSource):
    """Rows of a table whose first line holds the names of its columns; empty cells, `NA` and `NaN` are missing."""

    text: ClassVar[bool] = True

    def __init__(self, path: Path, rows: int, columns: Any, weights: str | None):
        self._csv: Any = arrow("csv", "tables of text")
        self.path, self.rows, self.weights = path, rows, weights
        self.separator = "\t" if ".tsv" in path.suffixes else ","
        # Only the names are looked at: that of a column may be a number that no other line has.
        with self._opened([]) as reader:
            there = reader.schema.names
        every = [name for name in there if name != weights]
        self.tables = in_tables(every if columns is None else columns)
        self.names = names_in((self.tables, weights or []))
        require_columns(self.names, there, path)

    def _opened(self, names: list[str]) -> Any:
        csv, kinds = self._csv, {name: arrow("lib", "tables of text").float64() for name in names}
        try:
            return csv.open_csv(
                self.path,
                csv.ReadOptions(block_size=_BYTES),
                csv.ParseOptions(delimiter=self.separator),
                csv.ConvertOptions(column_types=kinds, include_columns=names),
            )
        except ValueError as error:  # of which those of Arrow are
            raise DataError(f"{self.path}: {error}") from None

    @property
    def total_weight(self) -> None:
        return None

    def __len__(self) -> int:
        return 0

    def blocks(self, number):
        for rows in recut(self._pieces(), repeat(self.rows)):
            yield rows if self.weights is not None else (rows[0], None)

    def _pieces(self) -> Iterator[tuple[PyTree, Any]]:
        with self._opened(self.names) as reader:
            try:
                for piece in reader:
                    columns: dict[str, np.ndarray] = {name: numbers(piece.column(name), name) for name in self.names}
                    yield as_tables(self.tables, columns), () if self.weights is None else columns[self.weights]
            except ValueError as error:
                raise DataError(f"{self.path}: {error}") from None
