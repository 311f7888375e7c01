"""Estimates and standard errors that papers, books and the outputs of packages print, and fits to set beside them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxem


class Row(NamedTuple):
    """A quantity as it is printed; an empty string for what is not."""

    name: str
    estimate: str
    error: str


class Fitted(NamedTuple):
    model: Any
    params: Any
    data: Any
    weights: Any = None


class Table(NamedTuple):
    """What a source prints.

    `theta` makes a vector of the parameters, in which `log_likelihood` is written out once more, without the library:
    the sum, or that of each observation. `quantities` are those of the rows, by default the first of the vector.
    `slack` is in units of the last printed digit: more than 0.5 where the source stopped before the maximum, or has
    its derivatives from differences.
    """

    name: str
    model: str
    source: str
    rows: tuple[Row, ...]
    fitted: Callable[[], Fitted]
    theta: Callable[[Any], jax.Array]
    log_likelihood: Callable[[jax.Array], jax.Array]
    quantities: Callable[[jax.Array], jax.Array] | None = None
    method: str = "oakes"
    slack: float = 0.51

    def read(self, theta: jax.Array) -> jax.Array:
        return theta[: len(self.rows)] if self.quantities is None else self.quantities(theta)


def rows(text: str) -> tuple[Row, ...]:
    """A line `name estimate error` for each; `-` is not printed."""
    return tuple(Row(*("" if word == "-" else word for word in line.split())) for line in text.strip().splitlines())


def unit(printed: str) -> float:
    """One unit of the last digit."""
    return 10.0 ** -len(printed.partition(".")[2])


def fit(model: Any, data: Any, weights: Any = None, **options: Any) -> Fitted:
    """The maximum, to more digits than are printed."""
    given = {"tol": 1e-13, "max_steps": 20_000, **options}
    found = jaxem.fit(model, data, weights=weights, key=jax.random.key(0), **given)
    return Fitted(model, found.params, data, weights)


def polished(start: Fitted, **options: Any) -> Fitted:
    """The same by Newton's method."""
    found = jaxem.solve(
        start.model, start.params, start.data, weights=start.weights, algorithm=jaxem.algorithms.newton(), tol=1e-15,
        **options,
    )  # fmt: skip
    return start._replace(params=found.params)


def exact_errors(table: Table, theta: Any) -> np.ndarray:
    """The errors of the rows, by differentiating the log-likelihood as it is written out."""
    theta = jnp.asarray(theta)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        hessian = np.asarray(jax.jit(jax.hessian(lambda t: jnp.sum(table.log_likelihood(t))))(theta))
        jacobian = np.asarray(jax.jacobian(table.read)(theta))
        covariance = np.linalg.inv(-hessian)
        if table.method != "oakes":
            scores = np.asarray(jax.jacobian(table.log_likelihood)(theta))
            squares = scores.T @ scores
            covariance = np.linalg.inv(squares) if table.method == "scores" else covariance @ squares @ covariance
    return np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))
