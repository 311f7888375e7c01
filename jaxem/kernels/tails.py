"""The normal distribution on an interval, anywhere on the line: probabilities, moments and quantiles.

Everything is elementwise, finite with its derivatives, and takes no difference of numbers that nearly cancel.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.kernels.linalg import matmul

_FAR = 5.0  # from here on the continued fraction is exact to double precision
_LEVELS = 14
_LOG_ROOT = math.log(2 * math.pi) / 2
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
_NARROW = 4.0  # up to here the quadrature is exact to double precision
_BEYOND = 100.0  # an upper bound that is farther from 0 than the lower one, by this, is none


@jax.custom_jvp
def log_survival(x: Array) -> Array:
    """Log probability that a standard normal variable exceeds `x`."""
    right = x > 0
    distance = jnp.where(right, x, -x)
    log = -distance * distance / 2 - _LOG_ROOT - jnp.log(hazard(distance))
    return jnp.where(right, log, jnp.log1p(-jnp.exp(log)))


@log_survival.defjvp
def _(primals, tangents):
    return log_survival(*primals), -hazard(*primals) * tangents[0]


def hazard(x: Array) -> Array:
    """Density over survival probability of a standard normal variable: its mean given that it exceeds `x`."""
    return _tail(x)[0]


def interval_moments(near: Array, width: Array) -> tuple[Array, Array, Array]:
    """A standard normal variable on `[near, near + width]`: log probability, mean and mean square.

    `near` is the bound that is closer to 0, or not farther: `near >= -width / 2`; the width is positive and may be
    infinite. Narrow intervals go by Gauss-Legendre quadrature, others by Mills' ratio at both ends.
    """
    limit = jnp.abs(near) - near + _BEYOND
    width = jnp.where(width < limit, width, jax.lax.stop_gradient(limit))
    narrow = (width < _NARROW) & (width * (near + width / 2) < _NARROW)
    inside = _quadrature(jnp.where(narrow, near + width / 2, 0), jnp.where(narrow, width, 1))
    ends = _closed_form(jnp.where(narrow, 0, near), jnp.where(narrow, 2 * _NARROW, width))
    log, mean, square = (jnp.where(narrow, a, b) for a, b in zip(inside, ends, strict=True))
    return log, mean, square


def _quadrature(centre, width):
    half = width / 2
    nodes = jnp.asarray(_NODES, width.dtype).reshape(-1, *(1,) * width.ndim)
    s = half[None] * nodes
    mass = jnp.exp(-s * (centre[None] + s / 2))
    powers = jnp.asarray(_WEIGHTS / 2 * _NODES ** np.arange(3)[:, None], width.dtype)
    total, first, second = matmul(powers, mass.reshape(len(_NODES), -1)).reshape(3, *width.shape)
    log = jnp.log(jnp.maximum(width, jnp.finfo(width.dtype).tiny)) + jnp.log(total)
    mean, square = half * first / total, half * half * second / total
    return log - centre * centre / 2 - _LOG_ROOT, centre + mean, centre * (centre + 2 * mean) + square


def _closed_form(a, width):
    b = a + width
    ratio = jnp.exp(-width * (a + width / 2))  # of the densities at the ends
    right = a > 0
    near, far = 1 / hazard(jnp.where(right, a, -a)), ratio / hazard(b)
    log_density = -a * a / 2 - _LOG_ROOT
    density = jnp.exp(jnp.where(right, 0, log_density))
    mass = jnp.where(right, near - far, 1 - density * (near + far))
    log = jnp.log(jnp.where(right, mass, 1))
    log = jnp.where(right, log_density + log, jnp.log1p(-jnp.where(right, 0, density * (near + far))))
    scale = density / mass
    return log, (1 - ratio) * scale, 1 + (a - b * ratio) * scale


def interval_quantile(uniform: Array, near: Array, width: Array) -> Array:
    """The value below which a standard normal variable on `[near, near + width]` falls with probability `uniform`."""
    above = log_survival(near)
    share = jnp.exp(interval_moments(near, width)[0] - above)
    tiny = jnp.finfo(near.dtype).tiny
    log = above + jnp.log(jnp.maximum(1 - uniform * jnp.minimum(share, 1), tiny))
    return jnp.clip(survival_quantile(log), near, near + width)


def survival_quantile(log: Array) -> Array:
    """What a standard normal variable exceeds with this log probability: the inverse of `log_survival`."""
    tail = log < -4
    central = math.sqrt(2) * jax.lax.erf_inv(1 - 2 * jnp.exp(jnp.where(tail, -1, log)))
    target = jnp.where(tail, log, -5)
    square = -2 * (target + _LOG_ROOT)
    x = jnp.sqrt(square - jnp.log(square))
    for _ in range(3):
        x = x + (log_survival(x) - target) / hazard(x)
    return jnp.where(tail, x, central)


@jax.custom_jvp
def _tail(x):
    """The hazard, and its excess over `x`."""
    far = x > _FAR
    y = jnp.where(far, x, _FAR)
    # Laplace's continued fraction, from a guess of its remainder upwards.
    rest = (jnp.sqrt(y * y + 4 * _LEVELS) - y) / 2
    for level in range(_LEVELS - 1, 0, -1):
        rest = level / (y + rest)
    near = jnp.where(far, 0, x)
    direct = jnp.exp(-near * near / 2 - _LOG_ROOT) / (jax.lax.erfc(near / math.sqrt(2)) / 2)
    return jnp.where(far, x + rest, direct), jnp.where(far, rest, direct - near)


@_tail.defjvp
def _(primals, tangents):
    own, excess = _tail(*primals)
    slope = own * excess
    return (own, excess), (slope * tangents[0], (slope - 1) * tangents[0])
