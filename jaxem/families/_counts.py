"""Logarithms that keep their accuracy where terms of a Poisson or Bernoulli log density cancel or vanish."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array

from jaxem.kernels import exclusion


def clamped_log(x: Array) -> Array:
    """`log(x)`, finite at 0, so that no matrix product meets `0 * inf`.

    Constant to JAX where its second derivative would overflow.
    """
    tiny = jnp.finfo(x.dtype).tiny
    clear = x > np.sqrt(tiny)
    rest = jax.lax.stop_gradient(jnp.log(jnp.maximum(x, tiny)))
    return jnp.where(clear, jnp.log(jnp.where(clear, x, 1)), rest)


def log_ratio(x: Array, mean: Array) -> Array:
    """`log(x / mean)` with small relative error also where `x` is close to `mean`; at 0 as `exclusion.log` has it."""
    near, v, series, log = _ratio(x, mean)
    return jnp.where(near, 2 * v * (1 + series), log)


def deviance(x: Array, mean: Array) -> Array:
    """`x log(x / mean) - x + mean` with small relative error for any size of the counts (Loader 2000)."""
    near, v, series, log = _ratio(x, mean)
    return jnp.where(near, (x - mean) * v + 2 * x * v * series, x * log - (x - mean))


def stirling(x: Array) -> Array:
    """`log x! - x log x + x`: what is left of the Poisson log density at its own mean."""
    large = x >= 16
    inverse = 1 / jnp.where(large, x, 16)
    square = inverse * inverse
    error = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    tail = jnp.log(2 * np.pi * jnp.where(large, x, 16)) / 2 + error
    small = jnp.where(large, 0, x)
    return jnp.where(large, tail, gammaln(small + 1) - small * clamped_log(small) + small)


def _ratio(x, mean):
    """Whether `x` and `mean` are close; `v = (x - mean) / (x + mean)` and `artanh(v) / v - 1` where they are; and
    `log(x / mean)` where they are not."""
    total = x + mean
    v = (x - mean) / jnp.where(total > 0, total, 1)
    near, moderate = jnp.abs(v) < 0.1, (jnp.abs(v) < 0.999) & (total > 0)
    log = jnp.log(jnp.where(moderate, x, 1) / jnp.where(moderate, mean, 1))
    # A quotient of extremes overflows; a difference of logarithms loses digits between numbers of a size.
    log = jnp.where(moderate, log, exclusion.log(x) - exclusion.log(mean))
    v = jnp.where(near, v, 0)
    square, series = v * v, jnp.zeros_like(v)
    for power in range(7, 0, -1):
        series = square * (series + 1 / (2 * power + 1))
    return near, v, series, log
