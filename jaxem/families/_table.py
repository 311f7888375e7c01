"""Host-side checks of the rows given to a family."""

from typing import Any

import numpy as np

from jaxem._errors import DataError


def check_table(x: Any, name: str, missing: str = "") -> None:
    """A finite numeric table `[n, d]`, or an error that names the first row and column at fault.

    `missing` is what else to do about a missing entry.
    """
    check_shape(x, name)
    advice = "is not finite; drop or impute such rows first"
    require(~np.isnan(x), x, name, advice + missing)
    require(np.isfinite(x), x, name, advice)


def check_shape(x: Any, name: str) -> None:
    """A table `[n, d]` that is not empty, or an error."""
    if getattr(x, "ndim", None) != 2:
        shape = getattr(x, "shape", None)
        raise DataError(
            f"{name} must be a table of shape [rows, columns], got shape {shape}; "
            f"for a single column pass {name}[:, None]"
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"{name} is empty: shape {x.shape}")


def require(valid: np.ndarray, x: Any, name: str, message: str) -> None:
    """Raise for the first entry of `x` where `valid` is false."""
    if not valid.all():
        row, column = (int(i) for i in np.argwhere(~valid)[0])
        raise DataError(f"{name}: row {row}, column {column} has value {float(x[row, column])!r}, which {message}")
