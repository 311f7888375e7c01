"""Parameters of a linear Gaussian state-space model: their natural form, coordinates and covariances."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families.covariance import STRUCTURES
from jaxem.models._linear_regression import RegressionNatural


class StateSpaceParams(NamedTuple):
    """Parameters of a linear Gaussian state-space model of `q` states and `d` columns.

    Diagonal covariances are vectors of variances. Intercepts are `None` in a model without.
    """

    initial_mean: Float[Array, " q"]
    initial_covariance: Float[Array, "q q"]
    transition: Float[Array, "q q"]
    transition_covariance: Array
    observation: Float[Array, "d q"]
    observation_covariance: Array
    transition_intercept: Float[Array, " q"] | None = None
    observation_intercept: Float[Array, " d"] | None = None


class StateSpaceNatural(NamedTuple):
    """The marker of the steps that exist (always 1), and the three regressions that the log density is made of."""

    present: Array
    initial: RegressionNatural
    transition: RegressionNatural
    observation: RegressionNatural


class Coefficients(NamedTuple):
    """What the regressions multiply their regressors by: 1; the state before (and 1); the state (and 1)."""

    initial: Float[Array, "q 1"]
    transition: Float[Array, "q r"]
    observation: Float[Array, "d s"]


def rescaled(kind: str, covariance: Array, scale: Array) -> Array:
    """The covariance of columns that are multiplied by `scale`."""
    return STRUCTURES[kind]().rescale(covariance[None], scale[None])[0]


def clipped(kind: str, covariance: Array, floor: float, scale: Array | None = None) -> Array:
    """The covariance with no eigenvalue below the floor, in units of `scale`."""
    if scale is None:
        return STRUCTURES[kind]().clip(covariance[None], floor)[0]
    return rescaled(kind, clipped(kind, rescaled(kind, covariance, 1 / scale), floor), scale)


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
