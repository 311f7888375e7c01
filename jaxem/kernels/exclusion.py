"""Logarithms of what is exactly 0: so low that nothing makes up for it, and finite all the same.

Potentials are matrix products of natural parameters and statistics, in which a coefficient of minus infinity would meet
a statistic of 0 and make NaN. So the logarithm of 0 is a number here, `-2^96` in single precision: it stays finite
times any count, swallows whatever is added to it, and `exp` of it is 0. What reads potentials (the structures of hidden
variables) takes all below `lowest` for minus infinity.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool


def log_zero(dtype: object) -> float:
    """What stands for the logarithm of 0."""
    return -(2.0 ** (3 * jnp.finfo(dtype).maxexp // 4))


def lowest(dtype: object) -> float:
    """Where potentials begin that say "excluded". Tempering and extrapolation do not lift `log_zero` above it."""
    return log_zero(dtype) / 2**8


def possible(potential: Array) -> Bool[Array, "..."]:
    """Whether a potential belongs to anything that can be."""
    return potential > lowest(potential.dtype)


def or_minus_infinity(value: Array) -> Array:
    """A potential, or the logarithm of a sum of their exponentials, with minus infinity for what is excluded."""
    return jnp.where(value <= lowest(value.dtype), -jnp.inf, value)


def or_zero(potential: Array) -> Array:
    """A potential, with 0 for what is excluded. Constant to JAX."""
    return jax.lax.stop_gradient(jnp.where(possible(potential), potential, jnp.zeros_like(potential)))


def log(x: Array) -> Array:
    """`log(x)`, which is `log_zero` at 0.

    Constant to JAX there, and where its second derivative would overflow: derivatives stay finite.
    """
    tiny = jnp.finfo(x.dtype).tiny
    safe = jnp.where(x > np.sqrt(tiny), x, jax.lax.stop_gradient(jnp.maximum(x, tiny)))
    return jnp.where(x <= 0, log_zero(x.dtype), jnp.log(safe))


def log_complement(p: Array) -> Array:
    """`log(1 - p)` of probabilities, which is `log_zero` at 1 and constant to JAX there."""
    inside = ~(p >= 1)
    return jnp.where(inside, jnp.log1p(-jnp.where(inside, p, 0)), log_zero(p.dtype))
