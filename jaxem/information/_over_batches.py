"""Information matrices of rows that come in batches: sums over rows, added up over one pass."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem._batches import Reader
from jaxem._coordinates import vector
from jaxem._errors import DataError
from jaxem.engine.programs import program
from jaxem.information._matrices import Matrices, matrices, of_prior
from jaxem.sources import AbstractSource


def are_batches(data: Any) -> bool:
    """Whether data are read batch by batch: a source, or a callable that returns an iterator."""
    return isinstance(data, AbstractSource) or callable(data)


def summed(model: Any, params: PyTree, batches: Any, method: str) -> tuple[Matrices, float]:
    """The matrices of all batches, and the weight of their rows."""
    number, total, found = 0, 0.0, None
    for rows, weights, _ in Reader(model, batches, 1).read(0):
        each = matrices(model, params, rows, weights=weights, method=method)
        number, total = number + 1, total + float(weights.sum(dtype=float))
        found = each if found is None else Matrices(found.params, *jax.tree.map(jnp.add, found[1:], each[1:]))
    if found is None:
        raise DataError("data has no rows: no batch came")
    # Each batch had the whole prior.
    curvature, slope = _prior(model, found.params)
    more = number - 1
    return found._replace(
        observed=found.observed - more * curvature,
        complete=found.complete - more * curvature,
        gradient=found.gradient - more * slope,
    ), total


@program(quickly=True)
def _prior(model: Any, params: PyTree) -> tuple[Float[Array, "p p"], Float[Array, " p"]]:
    return of_prior(model, *vector(model, params))
