"""What is asked of a distribution on the line, and how a family names that of one of its columns."""

import operator
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.families.intervals import Interval, as_columns
from jaxem.families.responses import Responses


class AbstractUnivariate(eqx.Module):
    """A distribution on the line for each of `k` members: parameters `[k, 1]`, or `[k, n]` if they differ by row.

    Values are `[n]`, results `[k, n]`. Values of a `discrete` distribution are integers, and its density is their
    probability. A `positive` one has none below 0.

    **Example**

    >>> import jax.numpy as jnp
    >>> from jaxem.families import univariate
    >>> two = univariate.Normal(jnp.array([[0.0], [1.0]]), jnp.ones((2, 1)))
    >>> below, above = two.log_tails(jnp.array([0.0, 1.0]))
    >>> jnp.exp(below).round(2).tolist()[0][0], below.shape
    (0.5, (2, 2))
    """

    discrete: ClassVar[bool] = False
    positive: ClassVar[bool] = False

    @abstractmethod
    def log_density(self, x: Float[Array, " n"]) -> Float[Array, "k n"]:
        """Log density, or log probability; minus infinity where there is none."""

    @abstractmethod
    def log_tails(self, x: Float[Array, " n"]) -> tuple[Float[Array, "k n"], Float[Array, "k n"]]:
        """`log P(X <= x)` and `log P(X > x)`, each with the digits that it has alone."""

    def log_tails_below(self, x: Float[Array, " n"]) -> tuple[Float[Array, "k n"], Float[Array, "k n"]]:
        """`log P(X < x)` and `log P(X >= x)`."""
        return self.log_tails(jnp.ceil(x) - 1) if self.discrete else self.log_tails(x)

    @abstractmethod
    def typical(self) -> tuple[Array, Array]:
        """A value amid the others and a positive distance on which they vary, each `[k, 1]` or `[k, n]`: in what units
        quantiles are looked for."""

    def highest(self) -> Array:
        """The largest value, `[k, 1]` or `[k, n]`; infinity where there is none."""
        return jnp.full_like(self.typical()[0], jnp.inf)


class Marginal(NamedTuple):
    """The distribution of a column under each member, and what rows say of it: `Interval` of `[n]`, or `None`."""

    distribution: AbstractUnivariate
    values: Any = None


@final
class Stacked(AbstractUnivariate):
    """Members that are unlike, one below the other."""

    parts: tuple[AbstractUnivariate, ...]

    @property
    def discrete(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(part.discrete for part in self.parts)

    @property
    def positive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(part.positive for part in self.parts)

    def log_density(self, x):
        return jnp.concatenate([part.log_density(x) for part in self.parts])

    def log_tails(self, x):
        return self._joined([part.log_tails(x) for part in self.parts])

    def log_tails_below(self, x):
        return self._joined([part.log_tails_below(x) for part in self.parts])

    def typical(self):
        return self._joined([part.typical() for part in self.parts])

    def highest(self):
        pairs = [(part.highest(), part.highest()) for part in self.parts]
        return self._joined(pairs)[0]

    def _joined(self, pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        first, second = ([pair[i] for pair in pairs] for i in range(2))
        wide = max(leaf.shape[1] for leaf in first + second)
        first, second = (
            jnp.concatenate([jnp.broadcast_to(leaf, (leaf.shape[0], wide)) for leaf in leaves])
            for leaves in (first, second)
        )
        return first, second


def of_column(parameter: Float[Array, "k d"], column: Any) -> Float[Array, "k 1"]:
    """The parameter of one column; raises `DataError` where there is no such column."""
    index, d = as_index(column), parameter.shape[1]
    if not 0 <= index < d:
        raise DataError(f"column must be one of 0 to {d - 1}, got {column!r}")
    return parameter[:, index, None]


def marginal_of(family: Any, params: Any, column: Any, rows: Any = None) -> Marginal:
    """`family.marginal(params, column, rows)`; raises `MissingCapabilityError` for a family without that method."""
    if not hasattr(family, "marginal"):
        raise MissingCapabilityError(
            f"{type(family).__name__} does not say how one of its columns is distributed: define "
            "`marginal(params, column, rows)`, which returns a jaxem.families.univariate.Marginal"
        )
    return family.marginal(params, column, rows)


def require_covariates(rows: Any, name: str) -> Responses:
    """The rows, with the covariates that the distribution of a response depends on; raises `DataError` without them."""
    if not isinstance(rows, Responses):
        raise DataError(
            f"the distribution of a response of {name} depends on its covariates: pass jaxem.Responses(x, y) as data"
        )
    if rows.x.ndim != 2:
        raise DataError("data.x has an observation with several responses, and there is no one distribution of it")
    return rows


def as_index(column: Any) -> int:
    """The number of a column; raises `DataError` for what is no integer."""
    try:
        return operator.index(column)
    except TypeError:
        raise DataError(f"column must be an integer, got {column!r}") from None


def entries(rows: Any, column: Any = 0) -> Interval | None:
    """What rows say of a column: bounds `[n]`, equal where the value is known and NaN where it is missing."""
    if rows is None:
        return None
    if isinstance(rows, Responses):
        rows = rows.y
        if not isinstance(rows, Interval) and rows.ndim != 1:
            raise DataError("an observation has several responses, and there is no one value of it")
    if isinstance(rows, Interval):
        bounds = as_columns(rows)
        return Interval(bounds.lower[:, as_index(column)], bounds.upper[:, as_index(column)])
    x = jnp.asarray(rows)
    x = x[:, as_index(column)] if x.ndim == 2 else x
    return Interval(x, x)


def standardized(x: Array, location: Array, scale: Array) -> Array:
    """`(x - location) / scale`, `[k, n]`; an infinite value stays so."""
    x = jnp.asarray(x)[None]
    finite = jnp.isfinite(x)
    return jnp.where(finite, (jnp.where(finite, x, 0) - location) / scale, x)


def ones(k: int, dtype: Any) -> Array:
    """`[k, 1]`."""
    return jnp.ones((k, 1), dtype)


LOG_ROOT = float(np.log(2 * np.pi) / 2)
