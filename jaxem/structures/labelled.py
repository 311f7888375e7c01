from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from jaxem._errors import DataError
from jaxem.kernels.chunks import num_rows


def with_labels(rows: PyTree, labels: Any) -> "Labelled":
    """Rows with the labels that a caller passes beside them; a masked label is not known."""
    labels = np.ma.filled(labels, -1) if np.ma.is_masked(labels) and labels.dtype.kind == "i" else labels
    array = labels.to_numpy() if hasattr(labels, "to_numpy") else labels
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if array.dtype.kind not in "iu":
        n = num_rows(rows) if hasattr(rows, "shape") else len(array)
        raise DataError(f"labels must be {n} integers (-1 where unknown), got {array.dtype} of shape {array.shape}")
    return Labelled(rows, array)  # pyright: ignore[reportArgumentType]


class Labelled(NamedTuple):
    """Rows, some of whose components are known: `labels` `[n]` with -1 where unknown."""

    rows: PyTree
    labels: Int[Array, " n"]

    integers = ("labels",)

    def allowed(self, k: int) -> Bool[Array, "k n"]:
        """Which components each row may come from."""
        classes = jnp.arange(k, dtype=self.labels.dtype)
        return (self.labels[None, :] < 0) | (self.labels[None, :] == classes[:, None])

    def check(self, n: int, k: int) -> None:
        """Raise `DataError` for labels that do not fit `n` rows and `k` components."""
        labels = np.asarray(self.labels)
        if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"labels must be {n} integers (-1 where unknown), got {labels.dtype} of shape {labels.shape}"
            )
        wrong = np.flatnonzero((labels < -1) | (labels >= k))
        if wrong.size:
            row = int(wrong[0])
            raise DataError(
                f"labels: row {row} has label {labels[row]}; labels run from 0 to {k - 1}, with -1 where unknown"
            )


def unlabelled(data: PyTree) -> PyTree:
    """The data without their labels, if they have any."""
    return data.rows if isinstance(data, Labelled) else data
