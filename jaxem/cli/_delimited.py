"""Text tables: from bytes to cells, and whether the first line holds names."""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from jaxem._text import plain, quoted
from jaxem.cli._errors import CommandError, one_line

if TYPE_CHECKING:
    import polars

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MISSING = ("", "NA", "N/A", "n/a", "na", "<NA>", "#N/A", "#NA", "NaN", "nan", "NAN", "-nan", "null", "NULL", "None")
_NUMERAL = re.compile(r"[+-]?[.,]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?\s*%?|[+-]?0[xX][0-9a-fA-F]+|[+-]?inf(inity)?", re.I)
# Words by which people mark missing cells, without being understood.
_CODES = {*map(str.lower, MISSING), "n.a.", "n.d.", "nil", "missing", "unknown", "undefined", "not available"}
_SAMPLE = 100  # records from which the separator and the header are told


class Cells(NamedTuple):
    """The cells of a table as text.

    - `names`: those of the columns; `x0`, `x1`, ... where the file has none.
    - `frame`: the rows; its columns are strings without blanks around them, in the order of `names`.
    - `lines`: at which line of the file each row begins, counting from 1; empty if the file has no lines.
    - `header`: whether the first line holds names; `separator`: what stands between cells.
    - `unnamed`: whether the first column has no name.
    - `notes`: what the reader decided without being sure.
    """

    names: list[str]
    frame: "polars.DataFrame"
    lines: Sequence[int]
    header: bool
    separator: str
    unnamed: bool
    notes: list[str]


def decode(raw: bytes, encoding: str | None) -> str:
    """The text of a file, which gzip may have packed, with line ends of one kind; UTF-8 unless `encoding` is given."""
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise CommandError(f"cannot be unpacked by gzip: {one_line(error)}") from error
    try:
        text = raw.decode(encoding or "utf-8")
    except UnicodeError as error:
        start = getattr(error, "start", len(raw))
        line = raw[:start].count(b"\n") + 1
        where = f"line {line}, byte 0x{raw[start]:02x}" if start < len(raw) else "at its end"
        if encoding is not None:
            raise CommandError(f"--encoding {encoding} does not fit: {where}: try another, such as latin-1") from error
        hint = "give its encoding with --encoding, such as latin-1, cp1252 or utf-16"
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            hint = "it begins like UTF-16: give --encoding utf-16"
        elif raw.startswith(b"PK"):
            hint = "it is a spreadsheet or an archive: export the table as csv"
        raise CommandError(f"its text is not UTF-8 ({where}): {hint}") from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise CommandError(f"line {line} holds a zero byte: is it no text, or in UTF-16 (--encoding utf-16-le)?")
    return text


def split(text: str, usual: str, header: bool | None) -> Cells:
    """The cells of `text`; `header` says whether its first line holds names, `None` to tell by itself.

    A line of nothing but blanks is no row, wherever it stands; a line of separators is a row of empty cells.
    """
    lines, start = text.split("\n"), 0
    # What spreadsheets write where their separator is not the usual one.
    told = re.fullmatch(r'"?sep=([,;|\t])"?', next((line.strip(" ") for line in lines if line.strip()), ""), re.I)
    if told:
        start = 1 + next(i for i, line in enumerate(lines) if line.strip())
    separator = told[1] if told else _separator(lines, usual)
    records = _records(lines, start, separator)
    line, end, first = next(records, (0, 0, []))
    if not first:
        raise CommandError("the file is empty")
    if any('"' in rest for rest in islice(lines, end, None)):
        numbers, frame = _quoted(records, len(first), line)
    else:
        numbers, frame = _unquoted(lines, end, separator, len(first), line)
    notes = [] if separator == usual or told else [f"its columns are separated by {SEPARATORS[separator]}"]
    names = [cell.strip() for cell in first]
    if header is None:
        header, sure = has_header(names, frame.head(_SAMPLE).rows())
        if not header:
            called = "column is called x0" if len(first) == 1 else f"columns are called x0 to x{len(first) - 1}"
            notes.append(f"line {line} is data, so the {called} (--header if it holds names)")
        elif not sure:
            shown = ", ".join(map(plain, _named(names)[:6])) + ", ..." * (len(names) > 6)
            notes.append(f"line {line} is taken for names: {shown} (--no-header if it is data)")
    if header:
        return Cells(_named(names), frame, numbers, True, separator, not names[0], notes)
    whole = type(frame)({name: [cell] for name, cell in zip(frame.columns, names, strict=True)}).vstack(frame)
    generic = [f"x{i}" for i in range(len(first))]
    return Cells(generic, whole, [line, *numbers], False, separator, True, notes)


def has_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[bool, bool]:
    """Whether the cells of a first line are names, judged by the rows below; and whether that is sure.

    A line of numbers and missing cells is data; a line of words is names, and the first of them may be empty (an
    index). A line of words and whole numbers, such as years, is names if a word stands over numbers. Where that is in
    doubt, the line is data: a word in it is then refused, while a row that is taken for names would be lost.
    """
    words = [j for j, cell in enumerate(first) if cell not in MISSING and _is_word(cell)]
    numbers = [cell for cell in first if is_number(cell)]
    if not words:
        return False, True
    if any(cell and cell in MISSING for cell in first):
        return False, False
    if not numbers and all(first[1:]):
        return True, True
    codes = any(not _is_word(cell) or cell.lower() in _CODES for cell in first if cell and not is_number(cell))
    if numbers and (codes or not all(map(str.isdecimal, numbers))):
        return False, False
    columns = [[row[j] for row in rows if row[j] not in MISSING] for j in words]
    return any(column and all(map(is_number, column)) for column in columns), False


def _is_word(cell: str) -> bool:
    return any(map(str.isalpha, cell)) and not is_number(cell)


def is_number(cell: str) -> bool:
    """Whether `cell` is meant as a number, in whatever notation."""
    return _NUMERAL.fullmatch(cell) is not None


def _separator(lines: Sequence[str], usual: str) -> str:
    """The separator that cuts the first lines into the same number of cells, and these into numbers."""
    sample = list(islice((line for line in lines if line.strip()), _SAMPLE))

    def score(separator: str) -> float:
        try:
            rows = [row for row in csv.reader(sample, delimiter=separator, skipinitialspace=True) if row]
        except csv.Error:
            return 0.0
        width, often = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        if width == 1:
            return 0.0
        cells = [cell.strip() for row in rows if len(row) == width for cell in row]
        told = sum(is_number(cell) or cell in MISSING for cell in cells)
        return often / len(rows) * (0.1 + told / len(cells))

    return max((usual, *SEPARATORS), key=score)


def _records(lines: Sequence[str], start: int, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """Every record from `lines[start]` on that is not blank: the line of its beginning, of its end, and its cells."""
    rest = (line + "\n" for line in islice(lines, start, None))
    reader = csv.reader(rest, delimiter=separator, skipinitialspace=True, strict=True)
    end = start
    try:
        for row in reader:
            begin, end = end + 1, start + reader.line_num
            # A lone cell in quotes is a cell, even an empty one.
            if len(row) > 1 or '"' in lines[begin - 1] or any(map(str.strip, row)):
                yield begin, end, row
    except csv.Error as error:
        reason = "a quote is never closed" if "unexpected end" in str(error) else one_line(error)
        raise CommandError(f"line {end + 1}: {reason}") from error


def _quoted(
    records: Iterator[tuple[int, int, list[str]]], width: int, first: int
) -> tuple[list[int], "polars.DataFrame"]:
    numbers, rows = [], []
    for line, _, row in records:
        if len(row) != width:
            raise _ragged(line, len(row), width, first)
        numbers.append(line)
        rows.append(row)
    return numbers, _frame(zip(*rows, strict=True) if rows else [()] * width)


def _unquoted(
    lines: Sequence[str], start: int, separator: str, width: int, first: int
) -> tuple[list[int], "polars.DataFrame"]:
    """What `_quoted` returns of lines without quotes, several times faster."""
    import polars

    blanks = " \t\f\v".replace(separator, "")
    numbers = [i + 1 for i in range(start, len(lines)) if lines[i].strip(blanks)]
    for i in numbers:
        if lines[i - 1].count(separator) + 1 != width:
            raise _ragged(i, lines[i - 1].count(separator) + 1, width, first)
    if not numbers:
        return numbers, _frame([()] * width)
    kept = "\n".join(lines[i - 1] for i in numbers).encode("utf-8", "replace")
    frame = polars.read_csv(
        io.BytesIO(kept), separator=separator, has_header=False, infer_schema=False, quote_char=None
    )
    return numbers, _frame(frame.iter_columns())


def _frame(columns: Iterable[Iterable[str]]) -> "polars.DataFrame":
    import polars

    series = (polars.Series(str(i), column, polars.String) for i, column in enumerate(columns))
    return polars.DataFrame([column.fill_null("").str.strip_chars() for column in series])


def _ragged(line: int, cells: int, width: int, first: int) -> CommandError:
    hints = []
    if cells == width + 1:
        hints.append("is a name missing there, such as that of row names?")
    if cells == 2 * width:
        hints.append("if its commas are decimal marks, separate the columns by semicolons")
    found = f"line {line} has {cells} cell{'s' * (cells != 1)}, but line {first} has {width}"
    return CommandError(": ".join([found, *hints]))


def _named(cells: Sequence[str]) -> list[str]:
    """The names in a header; columns without one are called by their position."""
    names = [cell or f"unnamed_{j}" for j, cell in enumerate(cells)]
    for name, often in Counter(names).items():
        if often > 1:
            where = " and ".join(str(j) for j, other in enumerate(names) if other == name)
            raise CommandError(
                f"{often} columns are called {quoted(name)} (columns {where}, counting from 0): give each a name "
                "of its own, or --no-header if the first line is data"
            )
    return names
