"""Functions of the gamma distribution, free of the cancellation between terms that grow with the counts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

_SHIFT = 10  # from here on the asymptotic series are exact to double precision


def digamma_excess(x: Array) -> Array:
    """`digamma(x) - log(x)`, the mean of `log(u / E u)` under a gamma distribution of shape `x`; negative."""
    large, small, shifted = _split(x)
    square = 1 / shifted**2
    terms = square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square * (1 / 132 - square * 691 / 32760))))
    series = -1 / (2 * shifted) - square * (1 / 12 - terms)
    steps = sum((1 / (small + i) for i in range(1, _SHIFT)), 1 / small)
    return jnp.where(large, series, series + jnp.log1p(_SHIFT / small) - steps)


def inverse_digamma_excess(value: Array, least: float, most: float) -> Array:
    """The `x` in `[least, most]` at which `digamma_excess` is `value`, or the end that is nearer.

    The inverse of `digamma_excess` is close to linear and the root between `-1 / (2 value)` and `-1 / value`, so that
    Newton's method, kept in that bracket by bisection, has every digit after a few steps.
    """
    fixed = jax.lax.stop_gradient(jnp.where(value < 0, value, -1))

    def slope(x):
        return jax.jvp(digamma_excess, (x,), (jnp.ones_like(x),))

    def body(_, carry):
        x, low, high = carry
        found, change = slope(x)
        low, high = jnp.where(found < fixed, x, low), jnp.where(found < fixed, high, x)
        moved = x - (found - fixed) * found / (fixed * change)
        return jnp.where((moved >= low) & (moved <= high), moved, (low + high) / 2), low, high

    low = jnp.clip(-1 / (2 * fixed), least, most)
    high = jnp.clip(-1 / fixed, least, most)
    x = jax.lax.fori_loop(0, 8, body, ((low + high) / 2, low, high))[0]
    # The last step carries the derivative of the root.
    x = jax.lax.stop_gradient(x)
    found, change = jax.lax.stop_gradient(slope(x))
    x = x + (value - found) / change
    return jnp.clip(jnp.where(value < 0, x, most), least, most)


def stirling_excess(x: Array) -> Array:
    """`log Gamma(x)` less Stirling's `(x - 1/2) log x - x + log(2 pi) / 2`; positive."""
    large, small, shifted = _split(x)
    square = 1 / shifted**2
    terms = square * (1 / 1260 - square * (1 / 1680 - square * (1 / 1188 - square * 691 / 360360)))
    series = (1 / 12 - square * (1 / 360 - terms)) / shifted
    ratios = jnp.ones_like(x)
    for i in range(1, _SHIFT):
        ratios = ratios * ((small + i) / (small + _SHIFT))
    below = (small + 0.5) * jnp.log1p(_SHIFT / small) - jnp.log(ratios) - _SHIFT
    return jnp.where(large, series, series + below)


def gamma_divergence(a: Array, b: Array) -> Array:
    """Kullback-Leibler divergence of a gamma distribution of shape `a` from one of shape `b` and the same mean."""
    return jnp.log(a / b) / 2 + stirling_excess(b) - stirling_excess(a) + (a - b) * digamma_excess(a)


def ratio_divergence(ratio: Array, log: Array | None = None) -> Array:
    """`x - 1 - log(x)`; where the logarithm is known, it saves work to pass it."""
    near = jnp.abs(ratio - 1) < 0.1
    v = jnp.where(near, ratio - 1, 0)
    series = jnp.zeros_like(v)
    for power in range(18, 1, -1):
        series = v * series + (-1) ** power / power
    far = jnp.where(near, 1, ratio)
    return jnp.where(near, v * v * series, far - 1 - (jnp.log(far) if log is None else jnp.where(near, 0, log)))


def expected_log(a: Array, b: Array) -> Array:
    """Mean of `log p` under `Beta(a, b)`, with small relative error where `p` is close to 1."""
    return digamma_excess(a) - digamma_excess(a + b) - jnp.log1p(b / a)


def _split(x):
    """Which are large, all others (10 in place of the large), and the large beside the others shifted by 10.

    Elementary functions from here on: those that JAX has take seconds to compile, and their derivatives minutes.
    """
    large = x >= _SHIFT
    limit = jnp.full_like(x, _SHIFT)
    small = jnp.where(large, limit, x)
    return large, small, jnp.where(large, x, small + _SHIFT)
