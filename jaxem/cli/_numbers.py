"""From cells of text to numbers: what is none is named, with its place and what to do."""

import re
from typing import TYPE_CHECKING

import numpy as np

from jaxem._text import quoted
from jaxem.cli._delimited import MISSING, Cells
from jaxem.cli._errors import CommandError

if TYPE_CHECKING:
    import polars

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_COMMA = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"  # with a decimal comma
_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"  # what may be a number with a decimal comma, and 1000 times as much
_TRUTH = {"true": "1", "false": "0"}
_CAUSES = {
    r"[+-]?[0-9]{1,3}([,.' \u00a0\u202f][0-9]{3})+([.,][0-9]+)?": "has marks between thousands: leave them out",
    r"[+-]?[0-9.,]+\s*%": "is a percentage: write a fraction, and no sign",
    r"[+-]?inf(inity)?": "is infinite: remove the row, or leave the cell empty if the model takes missing cells",
    r"[+-]?0x[0-9a-f]+": "is hexadecimal: write it in decimals",
    r"[+-]?[0-9]*,[0-9]+(e[+-]?[0-9]+)?": "has a decimal comma: write points, or separate the columns by semicolons",
    r"[\u2212\u2013][0-9].*": "begins with a dash that is no minus sign: write -",
    r"[$\u20ac\u00a3\u00a5]\s*[0-9].*": "has the sign of a currency: leave it out",
    r"[-+0-9.]+([;|\s]+[-+0-9.]+)+": "is text: if it should be several cells, separate them by commas",
}


def numbers(where: str, cells: Cells, columns: list[str]) -> tuple[np.ndarray, str]:
    """The values `[n, d]` of some columns, NaN where a cell is missing; and the decimal mark, "." or ",".

    Raises `CommandError` for the first cell that holds something else.
    """
    import polars

    places = {name: i for i, name in enumerate(cells.names)}
    series = [_truths(cells.frame.to_series(places[name])) for name in columns]
    comma = [column.str.contains(_COMMA) for column in series]
    decimal = "," if any(column.any() for column in comma) else "."
    if decimal == ",":
        _require_decimal_commas(where, cells, columns, series, comma)
        series = [column.str.replace(",", ".", literal=True) for column in series]
    values = np.empty((cells.frame.height, len(columns)))
    for i, (name, column) in enumerate(zip(columns, series, strict=True)):
        bad = ~(column.str.contains(_NUMBER) | column.is_in(list(MISSING)))
        if bad.any():
            raise _refusal(where, cells, name, int(bad.arg_max() or 0))
        values[:, i] = column.cast(polars.Float64, strict=False).fill_null(np.nan).to_numpy()
        if np.isinf(values[:, i]).any():
            raise _refusal(where, cells, name, int(np.isinf(values[:, i]).argmax()), "is too large for a number")
    return values, decimal


def _truths(column: "polars.Series") -> "polars.Series":
    """1 and 0 for a column of truth values."""
    lower = column.str.to_lowercase()
    truth = lower.is_in(list(_TRUTH))
    if truth.any() and (truth | column.is_in(list(MISSING))).all():
        return lower.replace(_TRUTH).zip_with(truth, column)
    return column


def _require_decimal_commas(where: str, cells: Cells, columns: list[str], series: list, comma: list) -> None:
    """Refuse commas in cells that could be decimal marks or something else."""
    points = [column.str.contains(_NUMBER) & column.str.contains(".", literal=True) for column in series]
    i = next(i for i, found in enumerate(comma) if found.any())
    row = int(comma[i].arg_max() or 0)
    for name, found in zip(columns, points, strict=True):
        if found.any():
            other = int(found.arg_max() or 0)
            cause = f"has a comma, and column {quoted(name)} has a point in row {other}: use one mark for decimals"
            raise _refusal(where, cells, columns[i], row, cause)
    thousands = [column.filter(found).str.contains(_THOUSANDS) for column, found in zip(series, comma, strict=True)]
    if cells.separator != ";" and all(found.all() for found in thousands):
        raise _refusal(where, cells, columns[i], row, "may be a decimal or have a mark between thousands: write points")


def _refusal(where: str, cells: Cells, name: str, row: int, cause: str | None = None) -> CommandError:
    cell = cells.frame.to_series(cells.names.index(name))[row]
    if cause is None:
        found = (text for pattern, text in _CAUSES.items() if re.fullmatch(pattern, cell, re.I))
        cause = next(found, None)
    place = f"row {row}, counting from 0" + (f"; line {cells.lines[row]}" if cells.lines else "")
    if cause is None:
        header = "" if cells.header or row else ", or --header if the line holds names"
        return CommandError(
            f"{where}: column {quoted(name)} holds text ({quoted(cell)} in {place}): choose columns of numbers with "
            f"--columns, or code it as numbers{header}"
        )
    return CommandError(f"{where}: column {quoted(name)} ({place}): {quoted(cell)} {cause}")
