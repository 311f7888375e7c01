"""Unconstrained coordinates of the parameters of a state-space model."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.families.covariance import STRUCTURES

# The three regressions, which do not interact in Q.
_REGRESSIONS = (
    ("initial_mean", "initial_covariance"),
    ("transition", "transition_covariance", "transition_intercept"),
    ("observation", "observation_covariance", "observation_intercept"),
)


def on_covariances(model: Any, params: Any, fn: Callable[[Any, Array], Array]) -> Any:
    """Parameters, or their coordinates, with `fn(structure, leaf)` of each covariance."""
    kinds = {
        "initial_covariance": "full",
        "transition_covariance": model.transition_covariance,
        "observation_covariance": model.observation_covariance,
    }
    return params._replace(**{name: fn(STRUCTURES[kind](), getattr(params, name)) for name, kind in kinds.items()})


def regression_blocks(free: Any) -> tuple[list[Array], Any]:
    """Coordinates with a block for each regression, and the function that undoes it."""
    groups = [[name for name in group if getattr(free, name) is not None] for group in _REGRESSIONS]
    groups = [group for group in groups if group]
    flat = [jnp.concatenate([getattr(free, name).reshape(-1) for name in group])[None] for group in groups]

    def undo(arrays):
        found = free
        for group, array in zip(groups, arrays, strict=True):
            shapes = [getattr(free, name).shape for name in group]
            parts = jnp.split(array[0], np.cumsum([math.prod(s) for s in shapes])[:-1])
            fields = {name: part.reshape(s) for name, part, s in zip(group, parts, shapes, strict=True)}
            found = found._replace(**fields)
        return found

    return flat, undo
