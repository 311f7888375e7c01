"""The normal prior of log odds, of which one is 0 for reference."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def centred_normal(coefficients: Array, deviation: float, axis: int) -> Array:
    """Log prior density of coefficients that are normal about their mean over `axis`, where one of them is 0.

    The mean is integrated over, so that it does not matter which of them is the reference.
    """
    k = coefficients.shape[axis]
    squares = jnp.sum((coefficients - jnp.mean(coefficients, axis, keepdims=True)) ** 2) / deviation**2
    constant = coefficients.size // k * ((k - 1) * np.log(2 * np.pi * deviation**2) + np.log(k)) / 2
    return -squares / 2 - jnp.asarray(constant, coefficients.dtype)
