"""The names of columns, covariates and other things along axes: as they are given, or as data frames have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxem._errors import DataError

MAIN = ("column", "covariate", "word")  # what plain `columns` name, the first that there is


def named_in(data: Any) -> dict[str, list[str]]:
    """Names of columns and covariates by axis, where the data are data frames or hold some."""
    found: dict[str, list[str]] = {}
    if isinstance(data, Mapping):
        for block, rows in data.items():
            found |= {f"{block}_{axis}": names for axis, names in named_in(rows).items()}
        return found
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return {"column": [str(name) for name in data.columns]}
    for field in reversed(getattr(data, "_fields", ())):
        inner = named_in(getattr(data, field))
        if field in ("x", "gate", "covariates") and "column" in inner:
            axis = "gate_covariate" if field == "gate" else "covariate"
            inner = {axis: inner["column"]}
        found |= inner
    return found


def given_labels(columns: Any, axes: Mapping[str, int]) -> dict[str, list[str]]:
    """What `columns` says of the `axes` (their lengths by name), checked."""
    if columns is None:
        return {}
    if isinstance(columns, str):
        raise DataError(f"columns is {columns!r}: pass a list of names, such as [{columns!r}]")
    if not isinstance(columns, Mapping):
        if not isinstance(columns, Sequence | np.ndarray) and not hasattr(columns, "__iter__"):
            raise DataError(f"columns must be names, or a dictionary of names by axis, got {columns!r}")
        main = next((axis for axis in MAIN if axis in axes), None)
        if main is None:
            raise DataError(f"columns: no axis of the parameters is that of columns; {_advice(axes)}")
        columns = {main: columns}
    for axis, names in columns.items():
        if axis not in axes:
            raise DataError(f"columns: the parameters have no axis {axis!r}; {_advice(axes)}")
        if len(list(names)) != axes[axis]:
            raise DataError(f"columns: {len(list(names))} names for the axis {axis!r} of length {axes[axis]}")
        if len({str(name) for name in names}) < axes[axis]:
            raise DataError(f"columns: the names of the axis {axis!r} must differ")
    return {axis: [str(name) for name in names] for axis, names in columns.items()}


def default_labels(axis: str, size: int) -> list[Any]:
    """`x0`, `x1` and so on for columns and covariates, numbers for all else."""
    measured = axis.endswith(("column", "covariate"))
    return [f"x{i}" for i in range(size)] if measured else list(range(size))


def _advice(axes: Mapping[str, int]) -> str:
    known = ", ".join(f"{axis!r} ({size})" for axis, size in axes.items())
    return f"pass a dictionary of names for these: {known}" if known else "they have none to name"
