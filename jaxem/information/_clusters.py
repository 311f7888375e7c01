"""Scores of groups of rows that may depend on each other."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxem._errors import DataError
from jaxem.engine.convert import is_concrete
from jaxem.engine.door import question
from jaxem.information._matrices import Place
from jaxem.kernels.chunks import sum_chunks
from jaxem.kernels.linalg import matmul, transpose


class Clusters(NamedTuple):
    """The number of each row's group, `[n]`, and how many groups there are."""

    number: Int[np.ndarray, " n"]
    size: int


def clusters_of(groups: Any, n: int) -> Clusters:
    """Groups from labels of any kind."""
    if not is_concrete(groups):
        raise DataError("groups are traced: they are looked at on the host; pass known labels")
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise DataError(f"groups must be {n} labels, one for each row, got shape {labels.shape}")
    names, number = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"groups has one label, {labels[0]!r}: the scores of one group sum to 0; there must be several")
    return Clusters(number.astype(np.int32), len(names))


@question(fill=False)
def cluster_scores(
    model: Any, params: PyTree, data: PyTree, *, weights: Any = None, labels: Any, size: int
) -> Float[Array, "p p"]:
    """The sum over groups of the outer product of the sum of their scores; holds a score for each group."""
    sums = _sums(Place(model, params, data, weights), labels, size)
    return matmul(transpose(sums), sums)


@question(fill=False)
def group_scores(
    model: Any, params: PyTree, data: PyTree, *, weights: Any = None, labels: Any, size: int
) -> Float[Array, "g p"]:
    """The sum of the scores of each group."""
    return _sums(Place(model, params, data, weights), labels, size)


def _sums(place: Place, labels: Any, size: int) -> Float[Array, "g p"]:
    zero = jnp.zeros((), place.here.dtype)

    def one(block: PyTree, w: Array, index: Array) -> tuple[Array, Array]:
        rows, number = block
        sums = jnp.zeros((size, place.here.size), w.dtype)
        return sums.at[number].add(transpose(place.scores(rows) * w[None])), zero

    return sum_chunks(one, (place.data, jnp.asarray(labels)), place.weights, place.rows(place.here.size))[0]
