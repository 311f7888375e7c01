"""Host-side checks of the rows given to a family."""

from typing import Any

import numpy as np

from jaxem._errors import DataError


def check_table(x: Any, name: str, missing: str = "") -> None:
    """A finite numeric table `[n, d]`, or an error that names the first row and column at fault.

    `missing` is what else to do about a missing entry.
    """
    check_shape(x, name)
    if np.isfinite(x).all():
        return
    advice = "is not finite; drop or impute such rows first"
    require(~np.isnan(x), x, name, advice + missing)
    require(np.isfinite(x), x, name, advice)


def check_shape(x: Any, name: str) -> None:
    """A table `[n, d]` that is not empty, or an error."""
    if getattr(x, "ndim", None) != 2:
        shape = getattr(x, "shape", None)
        if shape is None:
            hint = "; covariates and responses go into jaxem.Responses(x, y)" if type(x) is tuple else ""
            raise DataError(f"{name} must be a table of shape [rows, columns], got {type(x).__name__}{hint}")
        column = f"; for a single column pass {name}[:, None]" if len(shape) == 1 else ""
        raise DataError(f"{name} must be a table of shape [rows, columns], got shape {shape}{column}")
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"{name} is empty: shape {x.shape}")


def check_width(x: Any, width: int, name: str) -> None:
    """A table of so many columns, or an error."""
    check_shape(x, name)
    if x.shape[1] != width:
        raise DataError(f"{name} has {x.shape[1]} columns, but the parameters are for {width}")


def check_gaps(x: Any, name: str) -> np.ndarray:
    """A table in which NaN stands for missing entries, or an error."""
    check_shape(x, name)
    x = np.asarray(x)
    require(~np.isinf(x), x, name, "is infinite; a missing entry is NaN")
    return x


def check_incomplete(x: Any, name: str) -> np.ndarray:
    """A table in which NaN stands for missing entries and no column lacks all, or an error.

    Returns it with the first entry of the column in the place of those that are missing.
    """
    x = check_gaps(x, name)
    missing = np.isnan(x)
    empty = np.flatnonzero(missing.all(0))
    if empty.size:
        raise DataError(f"{name}: column {int(empty[0])} has no entry that is not missing; drop it")
    return np.where(missing, x[np.argmin(missing, 0), np.arange(x.shape[1])][None], x)


def require_varying(x: Any, name: str, parameter: str, advice: str) -> None:
    """Raise for the first column of a complete table whose entries are all the same."""
    for column in np.flatnonzero(np.ptp(x, axis=0) == 0)[:1]:
        raise DataError(
            f"{name}: column {column} is constant (value {float(x[0, column])!r}), so its {parameter} has no "
            f"maximum-likelihood estimate; {advice}"
        )


def require(valid: np.ndarray, x: Any, name: str, message: str) -> None:
    """Raise for the first entry of `x` where `valid` is false."""
    if not valid.all():
        row, column = (int(i) for i in np.argwhere(~valid)[0])
        raise DataError(f"{name}: row {row}, column {column} has value {float(x[row, column])!r}, which {message}")
