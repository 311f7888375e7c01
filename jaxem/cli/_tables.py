"""Reading and writing tables."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxem._text import plain, quoted
from jaxem.cli._delimited import Cells, decode, split
from jaxem.cli._errors import CommandError, one_line, say
from jaxem.cli._numbers import numbers

if TYPE_CHECKING:
    import polars

EXTENSIONS = (".csv", ".tsv", ".parquet", ".npy")
_PACKED = (".csv.gz", ".tsv.gz")
_TEXT = {".csv": ",", ".tsv": "\t"}  # and what usually separates their cells


class Table(NamedTuple):
    """Float64 `values [n, d]` with the names of their columns; `name` says where they are from.

    - `reading`: how a text table was read, for `fit.json`; `None` for other tables.
    - `others`: columns of the file that were not asked for.
    - `notes`, `warnings`: what to tell the person who gave the file.
    """

    values: np.ndarray
    columns: tuple[str, ...]
    name: str
    reading: dict[str, Any] | None = None
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def tell(self, kind: str) -> None:
        """Print the warnings (`kind` is `"warning"`) or the notes (`"note"`) on standard error."""
        for message in self.warnings if kind == "warning" else self.notes:
            say(kind, f"{self.name}: {message}")


def read_table(
    path: str,
    columns: Sequence[str] | None = None,
    *,
    header: bool | None = None,
    encoding: str | None = None,
    fitted: bool = False,
) -> Table:
    """Read some columns, by default all, of a file or of standard input (`-`).

    `header` says whether the first line of a text table holds names, `None` to tell by its cells; `encoding` is that
    of a text table, UTF-8 by default. `fitted` says that `columns` are those of a fit: an array, which has no names,
    must have as many, and a note names the columns of other files that are not among them. A `CommandError` says what
    is wrong with the file.
    """
    file, name = Path(path), "standard input" if path == "-" else path
    lower = path.lower().removesuffix(".gz") if path.lower().endswith(_PACKED) else path.lower()
    extension = Path(lower).suffix
    try:
        if path == "-":
            if sys.stdin is None:
                raise CommandError(f"{name}: is closed")
            raw = sys.stdin.buffer.read()
            extension = ".npy" if raw[:6] == b"\x93NUMPY" else ".parquet" if raw[:4] == b"PAR1" else ".csv"
            source: Any = io.BytesIO(raw)
            size = len(raw)
        else:
            if not file.exists():
                raise CommandError(f"{name}: no such file")
            if file.is_dir():
                raise CommandError(f"{name}: is a folder, not a table")
            if extension not in EXTENSIONS:
                known = f"{', '.join((*EXTENSIONS, *_PACKED))}, or - for standard input"
                raise CommandError(f"{name}: unknown extension {quoted(extension)}: use one of {known}")
            raw = file.read_bytes() if extension in _TEXT else b""
            source, size = file, len(raw) or file.stat().st_size
        if size == 0:
            raise CommandError(f"{name}: the file is empty")
        if extension in _TEXT:
            return _noted(_from_text(name, raw, _TEXT[extension], columns, header, encoding), fitted)
        for option, value in (("--header/--no-header", header), ("--encoding", encoding)):
            if value is not None:
                raise CommandError(f"{name}: {option} is for text tables, not for {extension[1:]}")
        if extension == ".npy":
            table = _from_array(name, source)
            if fitted and columns is not None:
                return _by_place(table, columns)
            return table if columns is None else choose(table, columns)
        return _noted(_from_frame(name, _parquet(name, source), columns), fitted)
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror or one_line(error)}") from error


def choose(table: Table, columns: Sequence[str]) -> Table:
    """`table` with these columns in this order."""
    index = find(columns, table.columns, table.name)
    chosen = tuple(table.columns[i] for i in index)
    return table._replace(values=table.values[:, index], columns=chosen, others=_rest(table.columns, chosen))


def check_finite(table: Table, missing: bool = False) -> None:
    """Refuse infinite values, and unless `missing` allows them empty cells and NaN, naming the first."""
    bad = np.isinf(table.values) if missing else ~np.isfinite(table.values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = table.values[row, column]
        what = "missing or NaN" if np.isnan(value) else str(value)
        raise CommandError(
            f"{table.name}: row {row} (counting from 0), column {quoted(table.columns[column])} is {what}: remove or "
            f"fill in such rows first ({np.count_nonzero(bad.any(axis=1))} of {len(bad)} have one)"
        )


def find(wanted: Sequence[str], names: Sequence[str], where: str, hint: str = "") -> list[int]:
    """The places of the `wanted` among the columns of `where`; a name may also be given as it is printed."""
    places = {name: i for i, name in enumerate(names)}
    found = [places[name] if name in places else _find_alike(name, names, where, hint) for name in wanted]
    twice = next((i for i in found if found.count(i) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise CommandError(f"column {quoted(names[twice])} of {where} is asked for twice")
    return found


def _find_alike(name: str, names: Sequence[str], where: str, hint: str) -> int:
    alike = [i for i, other in enumerate(names) if plain(other) == plain(name)]
    if len(alike) == 1:
        return alike[0]
    shown = ", ".join(plain(other, 60) for other in names[:12]) + (", ..." if len(names) > 12 else "")
    raise CommandError(f"unknown column {quoted(name)}: {where} has {shown}{hint}")


def _rest(names: Sequence[str], chosen: Sequence[str]) -> tuple[str, ...]:
    used = {*chosen}
    return tuple(name for name in names if name not in used)


def _by_place(table: Table, columns: Sequence[str]) -> Table:
    if len(table.columns) != len(columns):
        names = ", ".join(plain(name, 60) for name in columns)
        raise CommandError(f"{table.name}: has {len(table.columns)} columns, not {len(columns)}: {names}")
    return table._replace(columns=tuple(columns))


def _noted(table: Table, fitted: bool) -> Table:
    if not (fitted and table.others):
        return table
    names = ", ".join(plain(name, 60) for name in table.others[:6]) + ", ..." * (len(table.others) > 6)
    return table._replace(notes=(*table.notes, f"the fit does not use the columns {names}"))


def _from_text(
    name: str, raw: bytes, usual: str, columns: Sequence[str] | None, header: bool | None, encoding: str | None
) -> Table:
    try:
        cells = split(decode(raw, encoding), usual, header)
    except CommandError as error:
        raise CommandError(f"{name}: cannot be read as {'tsv' if usual == chr(9) else 'csv'}: {error}") from error
    if cells.frame.height == 0:
        raise CommandError(f"{name}: has a header but no rows")
    hint = "" if cells.header else " (its first line was taken for data: --header if it holds names)"
    chosen = cells.names
    if columns is not None:
        chosen = [cells.names[i] for i in find(columns, cells.names, name, hint)]
    values, decimal = numbers(name, cells, chosen)
    notes = [*cells.notes, "its decimal marks are commas"] if decimal == "," else cells.notes
    empty = np.flatnonzero(np.isnan(values).all(1))
    if len(empty):
        place = f"line {cells.lines[empty[0]]} has" if len(empty) == 1 else f"{len(empty)} rows have"
        notes = [*notes, f"{place} nothing but missing cells"]
    reading = {
        "header": cells.header,
        "separator": cells.separator,
        "decimal": decimal,
        "encoding": encoding or "utf-8",
    }
    others = _rest(cells.names, chosen)
    warnings = _index(cells.unnamed, cells.names, chosen, values)
    return Table(values, tuple(chosen), name, reading, others, tuple(notes), warnings)


def _index(unnamed: bool, names: Sequence[str], chosen: Sequence[str], values: np.ndarray) -> tuple[str, ...]:
    """A warning where the first column only counts the rows."""
    if not (unnamed or names[0] == "Unnamed: 0") or names[0] not in chosen or len(chosen) == 1 or len(values) < 3:
        return ()
    column = values[:, list(chosen).index(names[0])]
    start = next((i for i in (0, 1) if np.array_equal(column, np.arange(i, i + len(column)))), None)
    if start is None:
        return ()
    rest = ",".join(plain(name, 60) for name in names[1:7]) + ",..." * (len(names) > 7)
    counted = f"{start}, {start + 1}, {start + 2} ..."
    what = f"the first column has no name and holds {counted}: it looks like an index, and is fitted like any other"
    return (f"{what}; leave it out with --columns {rest}",)


def _from_array(name: str, source: Any) -> Table:
    try:
        array = np.load(source, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a header is read by the parser of Python, which knows many ways to fail
        raise CommandError(f"{name}: not an array of numbers in NumPy's format: {one_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise CommandError(f"{name}: not an array of numbers in NumPy's format, but an archive of several")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise CommandError(f"{name}: holds {array.dtype}, not real numbers of at most 64 bits")
    if array.ndim != 2:
        hint = f": reshape it to ({array.size}, 1)" if array.ndim == 1 else ""
        raise CommandError(f"{name}: must be two-dimensional, rows by columns, but has shape {array.shape}{hint}")
    if 0 in array.shape:
        raise CommandError(f"{name}: has no values, its shape is {array.shape}")
    return Table(array.astype(np.float64), tuple(f"x{i}" for i in range(array.shape[1])), name)


def _parquet(name: str, source: Any) -> "polars.DataFrame":
    import polars

    try:
        return polars.read_parquet(source)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, ValueError) as error:
        reason = one_line(str(error).partition("\n")[0])
        raise CommandError(f"{name}: cannot be read as parquet: {reason}") from error


def _from_frame(path: str, frame: "polars.DataFrame", columns: Sequence[str] | None) -> Table:
    names = [name.strip() for name in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise CommandError(f"{path}: {names.count(twice)} columns are called {quoted(twice)}")
    frame.columns = names
    if frame.height == 0 or frame.width == 0:
        raise CommandError(f"{path}: has a header but no rows" if frame.width else f"{path}: has no columns")
    chosen = names if columns is None else [names[i] for i in find(columns, names, path)]
    values = np.empty((frame.height, len(chosen)))
    for i, name in enumerate(chosen):
        values[:, i] = _numbers(path, frame[name])
    return Table(values, tuple(chosen), path, others=_rest(names, chosen))


def _numbers(path: str, column: "polars.Series") -> np.ndarray:
    import polars

    if column.dtype == polars.String:
        cell = column.fill_null("").str.strip_chars().to_frame()
        return numbers(path, Cells([column.name], cell, (), True, ",", False, []), [column.name])[0][:, 0]
    if not (column.dtype.is_numeric() or column.dtype in (polars.Boolean, polars.Null)):
        what = f"column {quoted(column.name)} holds {plain(column.dtype, 60)}, not numbers"
        raise CommandError(f"{path}: {what}: choose others with --columns")
    return column.cast(polars.Float64).fill_null(np.nan).to_numpy()


def frame_of(values: np.ndarray, columns: Sequence[str]) -> "polars.DataFrame":
    """A data frame of `values [n, d]`."""
    import polars

    return polars.DataFrame({name: values[:, i] for i, name in enumerate(columns)})


def write_frame(frame: "polars.DataFrame", out: Path | None) -> None:
    """Write to a file, by its extension, or as csv to standard output; nothing half-written is left."""
    from jaxem.cli._output import staged_file

    if out is None:
        shown = [plain(name) for name in frame.columns]
        frame.columns = [name + "_" * shown[:i].count(name) for i, name in enumerate(shown)]
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
