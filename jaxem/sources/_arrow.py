"""Columns of Arrow tables as arrays of numbers."""

from importlib import import_module
from typing import Any

import numpy as np

from jaxem._errors import DataError


def arrow(module: str, what: str) -> Any:
    """A module of pyarrow, to read `what`."""
    try:
        return import_module(f"pyarrow.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(f"{what} are read by pyarrow, which is not installed: pip install 'jaxem[arrow]'") from error


def numbers(column: Any, name: str) -> np.ndarray:
    """A column as an array `[r]`, or `[r, d]` where it holds lists of one length; null is NaN."""
    types, kind = arrow("types", "such columns"), column.type
    if types.is_fixed_size_list(kind):
        if column.null_count:
            raise DataError(f"column {name!r} has a list that is missing")
        return numbers(column.flatten(), name).reshape(len(column), kind.list_size)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_decimal(kind):
        column = column.cast("float64")
    elif not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)):
        raise DataError(f"column {name!r} holds values of type {kind}, not numbers; leave it out of `columns`")
    if types.is_boolean(kind) and column.null_count:
        column = column.cast("uint8")
    # A copy unless there is nothing to convert; nobody writes to either.
    return column.to_numpy(zero_copy_only=False)


def require_columns(wanted: list[str], there: list[str], path: Any) -> None:
    """Raise `DataError` for a name that the file does not have, or that several of its columns have."""
    for name in wanted:
        if there.count(name) > 1:
            raise DataError(f"{path} has {there.count(name)} columns {name!r}")
        if name not in there:
            shown = ", ".join(map(repr, there[:12])) + ", ..." * (len(there) > 12)
            raise DataError(f"{path} has no column {name!r}; it has {shown}")
