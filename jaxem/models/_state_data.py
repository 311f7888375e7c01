"""What a state-space model reads from sequences."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem._errors import DataError
from jaxem.structures.sequences import Sequences


def present(sequences: Sequences) -> Float[Array, "n T"]:
    """1 at the steps of each sequence, 0 beyond its end."""
    ended, dtype = sequences.ended(), sequences.values.dtype
    return jnp.ones(sequences.shape, dtype) if ended is None else (~ended).astype(dtype)


def observed_entries(sequences: Sequences) -> Float[Array, "n T d"]:
    """1 for what was observed, 0 for what was not."""
    values = sequences.values
    seen = ~jnp.isnan(values) & (present(sequences) > 0)[..., None]
    if sequences.observed is not None:
        seen = seen & (jnp.asarray(sequences.observed) != 0)[..., None]
    return seen.astype(values.dtype)


def check_steps(sequences: Sequences, partly: bool) -> None:
    """Raise `DataError` for what is no table of finite numbers, or misses some columns of a step unless `partly`."""
    if isinstance(sequences.values, dict | tuple):
        raise DataError("values must be one array [sequences, steps, columns], with a column for each observation")
    sequences.check()
    values = np.asarray(sequences.values)
    n, steps, d = (*values.shape, 0)[:3]
    if values.ndim != 3 or d == 0:
        raise DataError(f"values must have shape [sequences, steps, columns], got {values.shape}")
    lengths = np.full(n, steps) if sequences.lengths is None else np.asarray(sequences.lengths)
    there = np.arange(steps)[None] < lengths[:, None]
    infinite = np.argwhere(np.isinf(values) & there[..., None])
    if len(infinite):
        row, step, column = infinite[0]
        raise DataError(
            f"data: sequence {row} is {values[row, step, column]} at step {step}, column {column}; values must be "
            "finite, or NaN where missing"
        )
    if sequences.observed is not None:
        there = there & (np.asarray(sequences.observed) != 0)
    missing = np.isnan(values) & there[..., None]
    missing = np.argwhere(missing & ~missing.all(-1, keepdims=True))
    if len(missing) and not partly:
        row, step, column = missing[0]
        raise DataError(
            f"data: sequence {row} misses column {column} at step {step}, but not all columns; with a full "
            'observation_covariance that takes partly_missing=True (or observation_covariance="diagonal")'
        )
