from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families._table import check_table


class Responses(NamedTuple):
    """Rows of a regression: covariates `x` `[n, p]` and responses `y` `[n]` (or `[n, 1]`, which is the same).

    The design matrix is taken as it is: a constant term is a column of ones. `size` `[n]`, where a family asks for it,
    is the number of trials (binomial) or the exposure (Poisson) of each row; 1 where it is left out.

    **Example**

    >>> import numpy as np, jaxem
    >>> age = np.array([21.0, 35.0, 48.0])
    >>> rows = jaxem.Responses(np.stack([np.ones(3), age], 1), np.array([1.0, 3.0, 2.0]))
    """

    x: Float[Array, "n p"]
    y: Any
    size: Float[Array, " n"] | None = None


def one_response(rows: Any) -> Any:
    """Rows whose responses (and sizes) lack the last axis of the covariates, where they came with one of length 1."""
    if not isinstance(rows, Responses):
        return rows
    axes = np.ndim(rows.x)

    def squeezed(leaf: Any) -> Any:
        return leaf[..., 0] if np.ndim(leaf) == axes and np.shape(leaf)[-1] == 1 else leaf

    return rows._replace(y=jax.tree.map(squeezed, rows.y), size=jax.tree.map(squeezed, rows.size))


def check_covariates(rows: Any, width: int, name: str = "data") -> None:
    """Raise `DataError` unless `rows` are `Responses` with so many covariates; looks at shapes alone."""
    require_responses(rows, name)
    shape = rows.x.shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"{name}.x must be a table of shape [rows, columns], got shape {shape}")
    if shape[-1] != width:
        raise DataError(f"{name}.x has {shape[-1]} columns, but the parameters are for {width}")
    for field in ("y", "size"):
        for leaf in jax.tree.leaves(getattr(rows, field)):
            if leaf.shape != shape[:-1]:
                raise DataError(f"{name}.{field} must have shape {shape[:-1]}, got {leaf.shape}")


def require_responses(rows: Any, name: str = "data") -> None:
    """Raise `DataError` for what is no `Responses`."""
    if not isinstance(rows, Responses):
        raise DataError(f"{name} must be jaxem.Responses(x, y), got {type(rows).__name__}")


def no_covariates(family: Any) -> MissingCapabilityError:
    """What a regression answers where it is to draw rows."""
    return MissingCapabilityError(
        f"{type(family).__name__} says how responses follow from covariates, and has no distribution of covariates to "
        "draw rows from"
    )


def check_responses(rows: Any, name: str = "data") -> None:
    """Raise `DataError` unless `rows` are `Responses` with finite covariates and one response a row."""
    require_responses(rows, name)
    check_table(rows.x, f"{name}.x")
    for field, value in (("y", rows.y), ("size", rows.size)):
        if isinstance(value, np.ndarray):
            if value.shape != rows.x.shape[:1]:
                raise DataError(f"{name}.{field} must have shape {rows.x.shape[:1]}, got {value.shape}")
            bad = np.flatnonzero(~np.isfinite(value))
            if bad.size:
                raise DataError(f"{name}.{field}: row {int(bad[0])} has value {value[bad[0]]}, which is not finite")
