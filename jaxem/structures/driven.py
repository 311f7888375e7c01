"""Sequences with covariates of their transitions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError
from jaxem.structures.sequences import Sequences, as_sequences


class Driven(NamedTuple):
    """Sequences, and what drives the transitions of their states.

    - `rows`: `[n, T, d]`, or `jaxem.Sequences`.
    - `covariates`: `[n, T, q]`, those of a step for the transition into it. Those of the first step, and beyond the
        end of a sequence, do not matter; all others must be known, also where nothing was observed of a step. They are
        taken as they are: a constant term is a column of ones.

    **Example**

    >>> import numpy as np
    >>> from jaxem.models import Driven
    >>> month = np.arange(24)[None]
    >>> season = np.stack([np.ones((1, 24)), np.cos(month * np.pi / 6), np.sin(month * np.pi / 6)], 2)
    >>> Driven(np.zeros((1, 24, 1)), season).covariates.shape
    (1, 24, 3)
    """

    rows: PyTree
    covariates: Float[Array, "n T q"]

    def check_shape(self) -> None:
        """Raise `DataError` for covariates that do not fit the sequences."""
        shape, found = as_sequences(self.rows).shape, np.shape(self.covariates)
        if len(found) != 3 or found[:2] != shape or found[2] == 0:
            raise DataError(
                f"data.covariates must have shape [sequences, steps, columns], here {(*shape, 'q')}, got {found}"
            )

    def moving(self) -> Any:
        """The transitions there are, `[n, T - 1]`: into steps after the first, up to the end."""
        n, steps = as_sequences(self.rows).shape
        ended = as_sequences(self.rows).ended()
        return np.ones((n, steps - 1), bool) if ended is None else ~ended[:, 1:]

    def check(self) -> np.ndarray:
        """The covariates of all transitions, `[m, q]`; raises `DataError` where one is not finite. On the host."""
        self.check_shape()
        x, there = np.asarray(self.covariates), np.asarray(self.moving())
        wrong = np.argwhere(~np.isfinite(x[:, 1:]) & there[:, :, None])
        if len(wrong):
            row, step, column = (int(i) for i in wrong[0])
            raise DataError(
                f"data.covariates: step {step + 1} of sequence {row}, column {column} has value "
                f"{float(x[row, step + 1, column])!r}, which is not finite; the covariates of all transitions must be "
                "known"
            )
        return x[:, 1:][there]


def steps_of(data: PyTree) -> Sequences:
    """The sequences in `data`, with covariates of transitions or without."""
    return as_sequences(data.rows if isinstance(data, Driven) else data)


def lengthened(data: PyTree, grid: Callable[[int], int]) -> tuple[PyTree, int]:
    """Sequences with `grid(T)` steps in the place of `T`, and how many were added to each; on the host.

    Their lengths are known then, whether they were all the same or not.
    """
    sequences = steps_of(data)
    n, steps = sequences.shape
    added = grid(steps) - steps

    def padded(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return np.pad(leaf, [(0, 0), (0, added), *[(0, 0)] * (leaf.ndim - 2)])

    lengths: Any = np.full(n, steps, np.int32) if sequences.lengths is None else sequences.lengths
    observed = None if sequences.observed is None else padded(sequences.observed)
    longer = Sequences(jax.tree.map(padded, sequences.values), lengths, observed)
    return Driven(longer, padded(data.covariates)) if isinstance(data, Driven) else longer, added


def transition_covariates(data: PyTree) -> Float[Array, "n s q"] | None:
    """The covariates of the transitions, 0 where there is none; `None` where the data have none."""
    if not isinstance(data, Driven):
        return None
    return jnp.where(data.moving()[:, :, None], jnp.asarray(data.covariates)[:, 1:], 0)


def transition_weights(data: PyTree, weights: Float[Array, " n"]) -> Float[Array, "n s"] | None:
    """The weights of the transitions, given those of the sequences; `None` where the data have no covariates."""
    return jnp.where(data.moving(), weights[:, None], 0) if isinstance(data, Driven) else None
