"""Extrapolation of sequences."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_step(change: Float[Array, " p"], bend: Float[Array, " p"]) -> Float[Array, ""]:
    """How many steps of a squared extrapolation to take at once: `|change| / |bend|`, and at least 1.

    `bend` is how a step differs from the one before it. Scheme S3 of Varadhan and Roland (2008).
    """
    size = jnp.sqrt(jnp.sum(bend**2))
    curved = size > 0
    return jnp.where(curved, jnp.maximum(jnp.sqrt(jnp.sum(change**2)) / jnp.where(curved, size, 1), 1), 1)
