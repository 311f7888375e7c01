"""How skewed the influence of the rows on a function of the parameters is: the acceleration of BCa intervals."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem.engine.door import question
from jaxem.information import observed
from jaxem.information._clusters import group_scores
from jaxem.information._matrices import Place
from jaxem.kernels.chunks import sum_chunks
from jaxem.kernels.linalg import matmul
from jaxem.resampling._draws import Units


def acceleration(
    model: Any, params: PyTree, data: PyTree, weights: Any, units: Units, fn: Callable[[PyTree], PyTree]
) -> Float[np.ndarray, " m"]:
    """The acceleration of each number of `fn(params)`, by the infinitesimal jackknife (Efron 1987).

    The influence of a unit, a row or a group of rows, is the inverse of the information times its score. What no unit
    moves has none, what the data do not determine NaN.
    """
    found = observed(model, params, data, weights=weights)
    error = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.delta(fn).standard_error)]).astype(float)
    # In units in which an influence is of the order of 1.
    scale = np.sqrt(units.frequency.sum()) / np.where(error > 0, error, 1)
    linear = scale[:, None] * found.influence(fn)
    strata = int(units.stratum.max()) + 1
    if units.grouped:
        scores = group_scores(model, params, data, weights=units.within, labels=units.of_row, size=len(units.frequency))
        influence = np.asarray(scores, float) @ linear.T
        powers = [units.frequency[:, None] * influence**p for p in range(4)]
        sums = np.stack([[np.bincount(units.stratum, column, strata) for column in each.T] for each in powers])
    else:
        exact = jnp.asarray(linear, found.matrix.dtype)
        sums = _sums_of_rows(
            model, params, data, weights=units.frequency, linear=exact, strata=units.stratum, size=strata
        )
    count, first, second, third = np.asarray(sums, float)
    mean = first / np.where(count > 0, count, 1)
    square = np.sum(second - count * mean**2, 1)
    cube = np.sum(third - 3 * mean * second + 2 * count * mean**3, 1)
    there = square > 0
    skew = np.where(there, cube / (6 * np.where(there, square, 1) ** 1.5), 0)
    return np.where(np.isnan(error), np.nan, skew)


@question(fill=False)
def _sums_of_rows(
    model: Any, params: PyTree, data: PyTree, *, weights: Any, linear: Array, strata: Any, size: int
) -> Float[Array, "4 m s"]:
    """Sums of the powers 0 to 3 of the influence of rows, in each stratum."""
    place = Place(model, params, data, weights)

    def one(block: PyTree, w: Array, index: Array) -> tuple[Array, Array]:
        rows, number = block
        influence = matmul(linear, place.scores(rows))
        powers = jnp.stack([influence**p for p in range(4)]) * w[None, None]
        sums = jnp.zeros((*powers.shape[:2], size), w.dtype).at[:, :, number].add(powers)
        return sums, jnp.zeros((), w.dtype)

    extra = place.here.size + 4 * len(linear)
    return sum_chunks(one, (place.data, jnp.asarray(strata)), place.weights, place.rows(extra))[0]
