"""The basis of the states of a linear model, which observations leave open."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families.covariance import STRUCTURES
from jaxem.kernels import linalg
from jaxem.models._state_params import StateSpaceParams, rescaled


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
