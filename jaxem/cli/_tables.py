"""Reading and writing tables."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxem.cli._errors import CommandError, one_line

if TYPE_CHECKING:
    import polars

EXTENSIONS = (".csv", ".tsv", ".parquet", ".npy")
_MISSING = ["", "NA", "N/A", "na", "null", "NULL", "None"]


class Table(NamedTuple):
    """Float64 `values [n, d]` with the names of their columns; `name` says where they are from."""

    values: np.ndarray
    columns: tuple[str, ...]
    name: str


def read_table(path: str, columns: Sequence[str] | None = None) -> Table:
    """Read some columns, by default all, of a file; a `CommandError` says what is wrong with it."""
    file = Path(path)
    extension = file.suffix.lower()
    try:
        if not file.exists():
            raise CommandError(f"{path}: no such file")
        if file.is_dir():
            raise CommandError(f"{path}: is a folder, not a table")
        if extension not in EXTENSIONS:
            raise CommandError(f"{path}: unknown extension {extension!r}: use one of {', '.join(EXTENSIONS)}")
        if file.stat().st_size == 0:
            raise CommandError(f"{path}: the file is empty")
        if extension == ".npy":
            table = _from_array(file)
            return table if columns is None else choose(table, columns)
        return _from_frame(path, _read_frame(file, extension), columns)
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or one_line(error)}") from error


def choose(table: Table, columns: Sequence[str]) -> Table:
    """`table` with these columns in this order."""
    index = [_find(name, table.columns, table.name) for name in columns]
    return Table(table.values[:, index], tuple(columns), table.name)


def check_finite(table: Table, missing: bool = False) -> None:
    """Refuse infinite values, and unless `missing` allows them empty cells and NaN, naming the first."""
    bad = np.isinf(table.values) if missing else ~np.isfinite(table.values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = table.values[row, column]
        what = "missing or NaN" if np.isnan(value) else str(value)
        raise CommandError(
            f"{table.name}: row {row} (counting from 0), column {table.columns[column]!r} is {what}: remove or fill in "
            f"such rows first ({np.count_nonzero(bad.any(axis=1))} of {len(bad)} have one)"
        )


def _from_array(file: Path) -> Table:
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CommandError(f"{file}: not an array of numbers in NumPy's format: {one_line(error)}") from error
    if array.dtype.kind not in "biuf":
        raise CommandError(f"{file}: holds {array.dtype}, not real numbers")
    if array.ndim != 2:
        hint = f": reshape it to ({array.size}, 1)" if array.ndim == 1 else ""
        raise CommandError(f"{file}: must be two-dimensional, rows by columns, but has shape {array.shape}{hint}")
    if 0 in array.shape:
        raise CommandError(f"{file}: has no values, its shape is {array.shape}")
    return Table(array.astype(np.float64), tuple(f"x{i}" for i in range(array.shape[1])), str(file))


def _read_frame(file: Path, extension: str) -> "polars.DataFrame":
    import polars

    try:
        if extension == ".parquet":
            return polars.read_parquet(file)
        separator = "\t" if extension == ".tsv" else ","
        header = not _all_numbers(file, separator)
        frame = polars.read_csv(
            file, separator=separator, has_header=header, null_values=_MISSING, infer_schema_length=None
        )
        return frame if header else frame.rename({name: f"x{i}" for i, name in enumerate(frame.columns)})
    except (polars.exceptions.PolarsError, UnicodeDecodeError, csv.Error) as error:
        reason = one_line(str(error).partition("\n")[0])
        raise CommandError(f"{file}: cannot be read as {extension[1:]}: {reason}") from error


def _all_numbers(file: Path, separator: str) -> bool:
    """Whether the first line holds nothing but numbers, so that it is data and not a header."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        cells = next(csv.reader(lines, delimiter=separator), [])
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _from_frame(path: str, frame: "polars.DataFrame", columns: Sequence[str] | None) -> Table:
    names = [name.strip() for name in frame.columns]
    if len(set(names)) < len(names):
        raise CommandError(f"{path}: several columns have the same name")
    frame.columns = names
    if frame.height == 0 or frame.width == 0:
        raise CommandError(f"{path}: has a header but no rows" if frame.width else f"{path}: has no columns")
    if columns is not None:
        frame = frame[[frame.columns[_find(name, frame.columns, path)] for name in columns]]
    values = np.empty((frame.height, frame.width))
    for i, column in enumerate(frame.iter_columns()):
        values[:, i] = _numbers(path, column)
    return Table(values, tuple(frame.columns), path)


def _numbers(path: str, column: "polars.Series") -> np.ndarray:
    import polars

    numeric = column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null)
    if column.dtype == polars.String:
        # Blanks around the separator make text of numbers.
        parsed = column.str.strip_chars().cast(polars.Float64, strict=False)
        text = column.filter(parsed.is_null() & column.is_not_null())
        if len(text):
            row = int((parsed.is_null() & column.is_not_null()).arg_max() or 0)
            raise CommandError(
                f"{path}: column {column.name!r} holds text ({text[0]!r} in row {row}, counting from 0): "
                "choose columns of numbers with --columns, or code it as numbers"
            )
        column, numeric = parsed, True
    if not numeric:
        what = f"column {column.name!r} holds {column.dtype}, not numbers"
        raise CommandError(f"{path}: {what}: choose others with --columns")
    return column.cast(polars.Float64).fill_null(np.nan).to_numpy()


def _find(name: str, names: Sequence[str], where: str) -> int:
    if name not in names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise CommandError(f"unknown column {name!r}: {where} has {shown}")
    return list(names).index(name)


def frame_of(values: np.ndarray, columns: Sequence[str]) -> "polars.DataFrame":
    """A data frame of `values [n, d]`."""
    import polars

    return polars.DataFrame({name: values[:, i] for i, name in enumerate(columns)})


def write_frame(frame: "polars.DataFrame", out: Path | None) -> None:
    """Write to a file, by its extension, or as csv to standard output; nothing half-written is left."""
    from jaxem.cli._output import staged_file

    if out is None:
        sys.stdout.write(frame.write_csv())
        sys.stdout.flush()
        return
    extension = out.suffix.lower()
    if extension not in {".csv", ".tsv", ".parquet"}:
        raise CommandError(f"--out {out}: unknown extension {extension!r}: use .csv, .tsv or .parquet")
    with staged_file(out) as stage:
        if extension == ".parquet":
            frame.write_parquet(stage)
        else:
            frame.write_csv(stage, separator="\t" if extension == ".tsv" else ",")
