"""Values of which a lower and an upper bound are known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxem._errors import DataError
from jaxem.engine.convert import as_table, is_concrete


class Interval(NamedTuple):
    """Censored values: each lies between `lower` and `upper`, arrays `[n]` or `[n, d]`.

    Equal bounds are a value that was observed exactly; a lower bound of minus infinity is a left-censored value, an
    upper bound of infinity a right-censored one. Exact values count with their density, others with the probability of
    their interval.

    **Example**

    Lifetimes of three parts, the last of which still worked when the study ended:

    >>> import jaxem
    >>> times = jaxem.Interval.right([3.0, 4.0, 5.0], censored=[False, False, True])
    >>> times.upper.tolist()
    [3.0, 4.0, inf]
    """

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]

    @staticmethod
    def exact(y: Any) -> "Interval":
        """Values that are all known."""
        y = _floats(y)
        return Interval(y, y)

    @staticmethod
    def right(y: Any, censored: Any) -> "Interval":
        """Values `y`, or lower bounds where `censored` is true."""
        y, censored = _floats(y), _flags(y, censored)
        return Interval(y, np.where(censored, np.asarray(np.inf, y.dtype), y))  # pyright: ignore[reportArgumentType]

    @staticmethod
    def left(y: Any, censored: Any) -> "Interval":
        """Values `y`, or upper bounds where `censored` is true."""
        y, censored = _floats(y), _flags(y, censored)
        return Interval(np.where(censored, np.asarray(-np.inf, y.dtype), y), y)  # pyright: ignore[reportArgumentType]

    @staticmethod
    def limited(y: Any, lower: float = -np.inf, upper: float = np.inf) -> "Interval":
        """Values of a measurement that shows no less than `lower` and no more than `upper`: those that it shows at a
        limit, or beyond, are left- or right-censored there."""
        if not lower <= upper:
            raise DataError(f"lower must be at most upper, got {lower} and {upper}")
        y = y if isinstance(y, jax.Array) else _floats(y, "y")
        xp: Any = jnp if isinstance(y, jax.Array) else np
        low, high = y <= lower, y >= upper
        least, most, infinite = (xp.asarray(value, y.dtype) for value in (lower, upper, np.inf))
        return Interval(
            xp.where(low, -infinite, xp.where(high, most, y)), xp.where(high, infinite, xp.where(low, least, y))
        )

    @property
    def is_exact(self) -> Bool[Array, "..."]:
        return self.lower == self.upper

    @property
    def point(self) -> Float[Array, "..."]:
        """A finite value in each interval: the middle, or the finite bound; 0 without bounds."""
        below, above = jnp.isfinite(self.lower), jnp.isfinite(self.upper)
        lower, upper = jnp.where(below, self.lower, 0), jnp.where(above, self.upper, 0)
        middle = lower + (upper - lower) / 2
        return jnp.where(below & above, middle, jnp.where(below, lower, upper))

    @property
    def reference(self) -> Float[Array, "..."]:
        """A finite bound of each interval, the lower one if both are; 0 without bounds."""
        below, above = jnp.isfinite(self.lower), jnp.isfinite(self.upper)
        return jnp.where(below, self.lower, jnp.where(above, self.upper, 0))

    @property
    def width(self) -> Float[Array, "..."]:
        """Distance of the bounds; 0 unless both are finite."""
        both = jnp.isfinite(self.lower) & jnp.isfinite(self.upper)
        return jnp.where(both, self.upper, 0) - jnp.where(both, self.lower, 0)


def as_columns(x: Interval) -> Interval:
    """Bounds as tables `[n, d]`."""
    if x.lower.ndim == 2:
        return x
    return Interval(x.lower[:, None], x.upper[:, None])


def check_intervals(x: Any, name: str, *, positive: bool = False, zero: bool = False) -> None:
    """Raise `DataError` unless `x` is an `Interval` of values that can occur, and names the first that cannot.

    `positive` values are greater than 0, or with `zero` not less.
    """
    require_interval(x, name)
    lower, upper = np.asarray(x.lower), np.asarray(x.upper)
    if lower.ndim not in (1, 2) or lower.size == 0 or lower.shape != upper.shape:
        raise DataError(
            f"{name}: bounds must be two arrays of one shape, [n] or [n, d], got {lower.shape} and {upper.shape}"
        )
    exact = lower == upper
    checks: list[tuple[np.ndarray, str]] = [
        (np.isnan(lower) | np.isnan(upper), "a bound that is not a number; a bound that is not known is infinite"),
        (lower > upper, "a lower bound above the upper one"),
        (np.isposinf(lower) | np.isneginf(upper), "no finite value between its bounds"),
        (np.isneginf(lower) & np.isposinf(upper), "no bound at all; drop the row"),
    ]
    if positive:
        impossible = (upper < 0) | ((upper == 0) & ~(exact & zero)) | (exact & (lower < 0))
        checks.append((impossible, f"no value that is {'at least' if zero else 'greater than'} 0 between its bounds"))
    for wrong, what in checks:
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            column = f", column {at[1]}" if len(at) == 2 else ""
            raise DataError(f"{name}: row {at[0]}{column} is [{lower[at]}, {upper[at]}], with {what}")


def check_bounds(x: Any, width: int, name: str) -> None:
    """Raise `DataError` unless `x` is an `Interval` of so many columns; looks at shapes alone."""
    require_interval(x, name)
    shapes = [jnp.shape(bound) for bound in x]
    if len(shapes[0]) not in (1, 2) or 0 in shapes[0] or shapes[0] != shapes[1]:
        raise DataError(
            f"{name}: bounds must be two arrays of one shape, [n] or [n, d], got {shapes[0]} and {shapes[1]}"
        )
    found = shapes[0][1] if len(shapes[0]) == 2 else 1
    if found != width:
        raise DataError(f"{name} has {found} columns, but the parameters are for {width}")


def require_interval(x: Any, name: str) -> None:
    """Raise `DataError` for what is no `Interval`."""
    if not isinstance(x, Interval):
        raise DataError(
            f"{name} must be a jaxem.Interval, got {type(x).__name__}: Interval.right(y, censored), or "
            "Interval.exact(y) if nothing is censored"
        )


def no_bounds(x: Interval) -> Bool[Array, " n"]:
    """Which rows have a bound that is not a number."""
    wrong = jnp.isnan(x.lower) | jnp.isnan(x.upper)
    return jnp.any(wrong, tuple(range(1, wrong.ndim)))


def check_spread(x: Interval, name: str, parameter: str) -> None:
    """Raise `DataError` where one value would agree with all rows, so that the likelihood has no maximum."""
    lower, upper = (np.asarray(bound).reshape(len(x.lower), -1) for bound in x)
    columns = np.flatnonzero(lower.max(0) <= upper.min(0))
    if columns.size:
        column = int(columns[0])
        low, high = lower[:, column].max(), upper[:, column].min()
        where = f"column {column}: " if x.lower.ndim == 2 else ""
        raise DataError(
            f"{name}: {where}every row allows the values between {low} and {high}, so that the likelihood has no "
            f"maximum at a finite, positive {parameter}; it takes rows that exclude each other's values"
        )


def _floats(y: Any, name: str = "y") -> Any:
    """Values as floating-point numbers, all finite: what is not known of them is said otherwise."""
    y = as_table(y, name)
    if is_concrete(y):
        y = np.asarray(y)
        wrong = np.argwhere(~np.isfinite(y))
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise DataError(
                f"{name}: row {at[0] if at else 0} has value {y[at]}, which is not finite; say what is not known by "
                "`censored`, or by the bounds of jaxem.Interval(lower, upper)"
            )
    return y


def _flags(y: Any, censored: Any) -> np.ndarray:
    if np.ma.is_masked(censored):
        raise DataError("censored has masked entries; it must say true or false for each value")
    flags = np.asarray(censored)
    if flags.dtype == object:
        raise DataError("censored has entries that are neither true nor false")
    if flags.shape != np.shape(y) or not (flags.dtype == bool or np.isin(flags, (0, 1)).all()):
        raise DataError(
            f"censored must say true or false for each of the values {np.shape(y)}, got shape {flags.shape}"
        )
    return flags.astype(bool)
