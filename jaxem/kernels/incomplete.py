"""Logarithms of both tails of gamma and beta distributions: the incomplete gamma and beta functions.

Each tail keeps its digits however small it is, and has derivatives in every argument, shapes included. Series and
continued fractions (Abramowitz and Stegun 1964, 6.5.29, 6.5.31 and 26.5.8) by the method of Lentz.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.kernels.special import ratio_divergence, stirling_excess

_MOST = 200_000  # terms; about 9 times the root of the largest shape are needed


def log_one_minus(log: Array) -> Array:
    """`log(1 - exp(log))` for `log <= 0`, with small relative error."""
    near = log > -math.log(2)
    return jnp.where(near, jnp.log(-jnp.expm1(jnp.where(near, log, -1))), jnp.log1p(-jnp.exp(jnp.where(near, -1, log))))


def log_gamma_kernel(a: Array, x: Array) -> Array:
    """`log(x^a exp(-x) / Gamma(a + 1))`, for positive `a` and `x`."""
    return -a * ratio_divergence(x / a) - jnp.log(2 * math.pi * a) / 2 - stirling_excess(a)


def log_beta_kernel(a: Array, b: Array, x: Array, y: Array) -> Array:
    """`log(x^a y^b / B(a, b))`, for positive arguments with `x + y = 1`."""
    total = a + b
    apart = a * ratio_divergence(total * (x / a)) + b * ratio_divergence(total * (y / b))
    return (
        -apart
        + jnp.log(a * (b / total) / (2 * math.pi)) / 2
        + (stirling_excess(total) - stirling_excess(a) - stirling_excess(b))
    )


@jax.custom_jvp
def log_gamma_tails(a: Array, x: Array) -> tuple[Array, Array]:
    """Log probabilities that a gamma variable of shape `a` and rate 1 is below `x`, and above: log P and log Q."""
    return _gamma(*jnp.broadcast_arrays(a, x))


@log_gamma_tails.defjvp
def _(primals, tangents):
    (a, x), (da, dx) = jnp.broadcast_arrays(*primals), jnp.broadcast_arrays(*tangents)
    (below, above), (of_below, of_above) = jax.jvp(lambda a: _gamma(a, x), (a,), (jnp.ones_like(a),))
    inside = (x > 0) & (x < jnp.inf)
    safe = jnp.where(inside, x, 1)
    density = log_gamma_kernel(a, safe) + jnp.log(a) - jnp.log(safe)
    return (below, above), (
        of_below * da + jnp.where(inside, jnp.exp(density - jnp.where(inside, below, 0)), 0) * dx,
        of_above * da - jnp.where(inside, jnp.exp(density - jnp.where(inside, above, 0)), 0) * dx,
    )


@jax.custom_jvp
def log_beta_tails(a: Array, b: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Log probabilities that a beta variable of shapes `a` and `b` is below `x = 1 - y`, and above."""
    return _beta(*jnp.broadcast_arrays(a, b, x, y))


@log_beta_tails.defjvp
def _(primals, tangents):
    a, b, x, y = jnp.broadcast_arrays(*primals)
    da, db, dx, dy = jnp.broadcast_arrays(*tangents)
    one, none = jnp.ones_like(a), jnp.zeros_like(a)
    tails, of_a = jax.jvp(lambda a, b: _beta(a, b, x, y), (a, b), (one, none))
    of_b = jax.jvp(lambda a, b: _beta(a, b, x, y), (a, b), (none, one))[1]
    inside = (x > 0) & (y > 0)
    p, q = jnp.where(inside, x, 0.5), jnp.where(inside, y, 0.5)
    density, moved = log_beta_kernel(a, b, p, q), dx / p - dy / q
    slopes = [jnp.where(inside, jnp.exp(density - jnp.where(inside, log, 0)), 0) for log in tails]
    return tails, (
        of_a[0] * da + of_b[0] * db + slopes[0] * moved,
        of_a[1] * da + of_b[1] * db - slopes[1] * moved,
    )


def _gamma(a: Array, x: Array) -> tuple[Array, Array]:
    inside = (x > 0) & (x < jnp.inf)
    safe = jnp.where(inside, x, a)
    left = safe < a + 1
    front = log_gamma_kernel(a, safe)
    below = front + jnp.log(_gamma_series(a, jnp.where(left, safe, a)))
    above = front + jnp.log(a) + jnp.log(_gamma_fraction(a, jnp.where(left, a + 1, safe)))
    return _both(left, below, above, inside, x <= 0)


def _beta(a: Array, b: Array, x: Array, y: Array) -> tuple[Array, Array]:
    inside = (x > 0) & (y > 0)
    p, q = jnp.where(inside, x, 0.5), jnp.where(inside, y, 0.5)
    left = p * (a + b + 2) < a + 1
    first, second = jnp.where(left, a, b), jnp.where(left, b, a)
    near, far = jnp.where(left, p, q), jnp.where(left, q, p)
    log = log_beta_kernel(first, second, near, far) - jnp.log(first) + jnp.log(_beta_fraction(first, second, near))
    return _both(left, log, log, inside, x <= 0)


def _both(left, below, above, inside, start):
    """Both tails from the one that was worked out; 0 and 1 at the ends."""
    below, above = jnp.where(left, below, -1), jnp.where(left, -1, above)
    # Rounding must not lift a probability above 1.
    below, above = jnp.minimum(below, -jnp.finfo(below.dtype).tiny), jnp.minimum(above, -jnp.finfo(below.dtype).tiny)
    lower = jnp.where(left, below, log_one_minus(above))
    upper = jnp.where(left, log_one_minus(below), above)
    nothing, all_ = jnp.full_like(lower, -jnp.inf), jnp.zeros_like(lower)
    return (
        jnp.where(inside, lower, jnp.where(start, nothing, all_)),
        jnp.where(inside, upper, jnp.where(start, all_, nothing)),
    )


def _gamma_series(a, x):
    """`sum x^n / ((a + 1) ... (a + n))`."""
    eps = jnp.finfo(x.dtype).eps

    def more(carry):
        n, term, total = carry
        return (n < _MOST) & jnp.any(term > eps * total / 8)

    def step(carry):
        n, term, total = carry
        term = term * (x / (a + (n + 1).astype(x.dtype)))
        return n + 1, term, total + term

    return jax.lax.while_loop(more, step, (jnp.int32(0), jnp.ones_like(x), jnp.ones_like(x)))[2]


def _gamma_fraction(a, x):
    """`1 / (x + 1 - a - (1 - a) / (x + 3 - a - ...))`."""

    def coefficients(n):
        n = n.astype(x.dtype)
        return -n * (n - a), x + 1 - a + 2 * n

    return _lentz(coefficients, x + 1 - a, 1 / (x + 1 - a))


def _beta_fraction(a, b, x):
    """The continued fraction of the incomplete beta function: `I_x(a, b) a B(a, b) / (x^a (1 - x)^b)`."""

    def coefficients(n):
        odd, m = n % 2 == 1, (n // 2).astype(x.dtype)
        up = -(a + m) * (x / (a + 2 * m)) * ((a + b + m) / (a + 2 * m + 1))
        flat = m * (x / (a + 2 * m)) * ((b - m) / (a + 2 * m - 1))
        return jnp.where(odd, up, flat), jnp.ones_like(x)

    return _lentz(coefficients, jnp.ones_like(x), jnp.ones_like(x))


def _lentz(coefficients, start, first):
    """`first * start / (start + c_1 / (d_1 + c_2 / (d_2 + ...)))` (Thompson and Barnett 1986), until no digit moves."""
    eps, least = jnp.finfo(start.dtype).eps, jnp.finfo(start.dtype).tiny ** 0.5

    def guarded(value):
        return jnp.where(jnp.abs(value) < least, least, value)

    def more(carry):
        n, factor, *_ = carry
        return (n < _MOST) & jnp.any(jnp.abs(factor - 1) > 4 * eps)

    def step(carry):
        n, _, c, d, value = carry
        upper, lower = coefficients(n)
        c, d = guarded(lower + upper / c), 1 / guarded(lower + upper * d)
        factor = c * d
        return n + 1, factor, c, d, value / factor

    c = guarded(start)
    state = (jnp.int32(1), jnp.full_like(start, 2), c, jnp.zeros_like(c), jnp.ones_like(start))
    return first * jax.lax.while_loop(more, step, state)[4]
