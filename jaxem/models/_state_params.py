"""Parameters of a linear Gaussian state-space model: natural form, coordinates, covariances, basis of the states."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families.covariance import STRUCTURES
from jaxem.kernels import linalg
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


def observability(transition: Float[Array, "q q"], observation: Float[Array, "d q"]) -> Float[Array, " q"]:
    """For each state, how far it must move for the sum of squares of `q` observations to change by 1.

    That of a state that is never seen is 1.
    """
    total = jnp.zeros_like(transition[0])
    for _ in range(transition.shape[0]):
        total = total + jnp.sum(observation**2, 0)
        observation = linalg.matmul(observation, transition)
    seen = jnp.isfinite(total) & (total > 0)
    return jnp.where(seen, 1 / jnp.sqrt(jnp.where(seen, total, 1)), 1)


def unidentified(model: Any, params: Any) -> int:
    """The dimension of the changes `z -> (I + X) z + s` that keep the frozen parameters and the model's form."""
    p = type(params)(*(None if leaf is None else np.asarray(leaf, float) for leaf in params))
    q, d = model.state_dim, p.observation.shape[0]
    frozen = set(model.frozen)
    rows = []
    for i in range(q * q + q):
        x, s = np.zeros((q, q)), np.zeros(q)
        (x.reshape(-1) if i < q * q else s)[i if i < q * q else i - q * q] = 1
        noise = p.transition_covariance
        noise = np.diag(noise) if model.transition_covariance == "diagonal" else noise
        noise = x @ noise + noise @ x.T
        moved = {
            "initial_mean": x @ p.initial_mean + s,
            "initial_covariance": x @ p.initial_covariance + p.initial_covariance @ x.T,
            "transition": x @ p.transition - p.transition @ x,
            "transition_covariance": noise,
            "observation": -p.observation @ x,
            "transition_intercept": (np.zeros(q) if p.transition_intercept is None else x @ p.transition_intercept)
            + (np.eye(q) - p.transition) @ s,
            "observation_intercept": -p.observation @ s if d else np.zeros(0),
        }
        held = [moved[name] for name in frozen]
        held += [moved[name] for name in ("transition_intercept", "observation_intercept") if not getattr(model, name)]
        if model.transition_covariance == "diagonal" and "transition_covariance" not in frozen:
            held.append(noise[~np.eye(q, dtype=bool)])
        rows.append(np.concatenate([np.ravel(part) for part in held]) if held else np.zeros(0))
    moves = np.array(rows)
    scale = np.abs(moves).max(0)
    moves = moves[:, scale > 0] / scale[scale > 0]
    return len(moves) - (int(np.linalg.matrix_rank(moves)) if moves.size else 0)


def at_floor(model: Any, params: StateSpaceParams) -> Array:
    """Whether a covariance that is estimated lies at its floor."""
    scale = observability(params.transition, params.observation)
    found = jnp.zeros((), bool)
    for name, by in (("transition_covariance", 1 / scale), ("observation_covariance", None)):
        if name not in model.frozen:
            kind, covariance = getattr(model, name), getattr(params, name)
            covariance = covariance if by is None else rescaled(kind, covariance, by)
            found = found | jnp.any(STRUCTURES[kind]().at_floor(covariance[None], model.floor))
    return found
