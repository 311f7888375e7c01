"""What the priors share: checks of their fields, and draws that do not underflow to zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

MODE = "at least 1 for a posterior-mode estimate (below 1 the density has no interior mode)"


def require_positive(value: Any, name: str) -> None:
    """Raise `ValueError` for an entry that is known and not positive.

    NaN in a JAX array passes: it is what a failed computation leaves, and a run reports that in its status.
    """
    if _known(value):
        values = np.asarray(value)
        if np.any(values <= 0) or (not isinstance(value, jax.Array) and np.any(np.isnan(values))):
            raise ValueError(f"{name} must be positive, got {value!r}")


def less_one(value: Any, name: str, dtype: Any) -> Array:
    """`value - 1`, what it adds to the counts in an estimate of the mode.

    Raises `ValueError` below 1; where the value is only known when the program runs, the result is NaN there.
    """
    if _known(value):
        if not np.all(np.asarray(value) >= 1):
            raise ValueError(f"{name} must be {MODE}, got {value!r}")
        return jnp.asarray(value, dtype) - 1
    value = jnp.asarray(value, dtype)
    return jnp.where(value >= 1, value - 1, jnp.nan)


def at_least_one(value: Any) -> Any:
    """Values below 1 raised to 1."""
    return np.maximum(value, 1) if _known(value) else jnp.maximum(value, 1)


def spread(like: Array, *fields: Any) -> tuple[Array, ...]:
    """`fields` in the precision and shape of `like`."""
    return tuple(jnp.broadcast_to(jnp.asarray(v, like.dtype), like.shape) for v in fields)


def log_gamma(key: PRNGKeyArray, shape: Array) -> Array:
    """Logarithms of draws from gamma distributions of these shapes and rate 1."""
    return jax.random.loggamma(key, shape, shape.shape, shape.dtype)


def exp_positive(log: Array) -> Array:
    """`exp`, but no less than the smallest normal number: what it stands for is positive."""
    return jnp.maximum(jnp.exp(log), jnp.finfo(log.dtype).tiny)


def _known(value):
    return isinstance(value, int | float | np.ndarray | np.generic) or (
        isinstance(value, jax.Array) and not isinstance(value, Tracer)
    )
