"""Gaussian chains in moment form, time first and the batch last: `[T, q, q, b]`.

A chain `z_1 ~ N(mean, covariance)`, `z_t = A z_{t-1} + offset_t + N(0, Q)` is conditioned on factors
`exp(linear_t^T z_t - z_t^T quadratic_t z_t / 2)`. Covariances appear as sums of squares alone, never as a difference,
so that they stay definite in single precision (compare Morf and Kailath 1975, Särkkä 2013).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.kernels import linalg, small

# Up to this size products are sums of elementwise terms: ten times faster on a CPU than a product or a reduction of so
# few entries (4 x 4, jaxlib 0.10).
_UNROLLED = 5


class Dynamics(NamedTuple):
    """How a state follows from the one before, and a square root of the noise's precision (`root root^T = Q^-1`)."""

    transition: Array  # [q, q, b]
    covariance: Array  # [q, q, b]
    precision_root: Array  # [q, q, b]
    offset: Array  # [T - 1, q, b]


class Filtered(NamedTuple):
    """States given the factors before (predicted) and up to their own time.

    `predicted_root` is a lower Cholesky factor; the filtered covariance is `root^T root`.
    """

    predicted_mean: Array  # [T, q, b]
    predicted_root: Array  # [T, q, q, b]
    mean: Array  # [T, q, b]
    root: Array  # [T, q, q, b]
    log_normalizer: Array  # [T, b], what the factors of each step add


class Backward(NamedTuple):
    """`z_t` given `z_{t+1}` and the factors up to `t`.

    That is `mean_t + gain_t (z_{t+1} - predicted_{t+1}) + root_t^T noise`.
    """

    gain: Array  # [T - 1, q, q, b]
    root: Array  # [T - 1, q, q, b]
    shrink: Array  # [T - 1, q, q, b], Q times the predicted precision: the innovation is this times the surprise


def product(a: Array, b: Array) -> Array:
    """Matrix products over the two axes before the last one."""
    if a.shape[-2] > _UNROLLED:
        return linalg.einsum("...ijb,...jkb->...ikb", a, b)
    terms = [a[..., :, k, None, :] * b[..., None, k, :, :] for k in range(a.shape[-2])]
    return sum(terms[1:], terms[0])


def apply(a: Array, x: Array) -> Array:
    """Products of matrices and vectors."""
    if a.shape[-2] > _UNROLLED:
        return jnp.sum(a * x[..., None, :, :], -2)
    terms = [a[..., :, k, :] * x[..., None, k, :] for k in range(a.shape[-2])]
    return sum(terms[1:], terms[0])


def transpose(a: Array) -> Array:
    """The two axes of matrices exchanged, which the rows follow."""
    return jnp.swapaxes(a, -3, -2)


def square(root: Array) -> Array:
    """`root^T root`."""
    return product(transpose(root), root)


def cholesky(a: Array) -> Array:
    """Lower Cholesky factors."""
    if a.shape[-2] > small.SMALL:
        return jnp.moveaxis(linalg.cholesky(jnp.moveaxis(a, -1, -3)), -3, -1)
    return jnp.moveaxis(small.cholesky(jnp.moveaxis(a, (-3, -2), (0, 1))), (0, 1), (-3, -2))


def solve_lower(factor: Array, b: Array) -> Array:
    """Solve `factor x = b` for lower triangular factors and matrices `b`."""
    q = factor.shape[-2]
    if q > small.SMALL:
        inverse = linalg.inverse_lower(jnp.moveaxis(factor, -1, -3))
        return product(jnp.moveaxis(inverse, -3, -1), b)
    rows: list[Array] = []
    for i in range(q):
        rest = b[..., i, :, :]
        for j, row in enumerate(rows):
            rest = rest - factor[..., i, j, None, :] * row
        rows.append(rest / factor[..., i, i, None, :])
    return jnp.stack(rows, -3)


def solve_upper(factor: Array, b: Array) -> Array:
    """Solve `factor^T x = b` for lower triangular factors `[q, q, b]` and vectors `[q, b]`."""
    if factor.shape[0] > small.SMALL:
        return apply(transpose(solve_lower(factor, identity(factor))), b)
    return small.solve_upper(factor, b)


def log_diagonal(factor: Array) -> Array:
    """Half the log determinant of `factor factor^T`."""
    return jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-3, axis2=-2)), -1)


def identity(like: Array) -> Array:
    """Identity matrices of the shape of `like`."""
    return jnp.broadcast_to(jnp.eye(like.shape[-2], dtype=like.dtype)[..., None], like.shape)


def inverse_root(precision: Array) -> tuple[Array, Array]:
    """Lower Cholesky factor of a precision, and the covariance."""
    factor = cholesky(precision)
    return factor, square(solve_lower(factor, identity(factor)))


def filter(
    mean: Array, covariance: Array, dynamics: Dynamics, quadratic: Array, linear: Array, present: Array
) -> Filtered:
    """The forward pass; steps that are not `present` `[T, b]` (the padding at the end) leave the state as it is."""
    transition, noise = dynamics.transition, dynamics.covariance

    def condition(mean, covariance, quadratic, linear):
        factor = cholesky(covariance)
        bent = product(quadratic, factor)
        inner = cholesky(identity(covariance) + product(transpose(factor), bent))
        root = solve_lower(inner, transpose(factor))
        pull = linear - apply(quadratic, mean)
        moved = apply(root, pull)
        # The density at the new mean, near which the terms are small however far off the old one was.
        new = mean + apply(transpose(root), moved)
        at_new = jnp.sum(new * (2 * linear - apply(quadratic, new)), -2) / 2
        value = at_new - jnp.sum(solve_upper(inner, moved) ** 2, -2) / 2 - log_diagonal(inner)
        return factor, new, root, value

    def step(carry, inputs):
        mean, covariance = carry
        offset, quadratic, linear, follows = inputs
        factor, new, root, value = condition(mean, covariance, quadratic, linear)
        ahead = product(root, transpose(transition))
        goes = follows[None] > 0
        ahead_mean = jnp.where(goes, apply(transition, new) + offset, new)
        ahead_covariance = jnp.where(goes[None], square(ahead) + noise, square(root))
        return (ahead_mean, ahead_covariance), (mean, factor, new, root, value)

    def shifted(a):
        return jnp.concatenate([a, jnp.zeros((1, *a.shape[1:]), a.dtype)])

    inputs = (shifted(dynamics.offset), quadratic, linear, shifted(present[1:]))
    return Filtered(*jax.lax.scan(step, (mean, covariance), inputs)[1])


def reverse(filtered: Filtered, dynamics: Dynamics) -> Backward:
    """The chain backwards in time, all steps at once."""
    root, factor = filtered.root[:-1], filtered.predicted_root[1:]
    ahead = product(root, transpose(dynamics.transition)[None])
    bent = product(ahead, dynamics.precision_root[None])
    inner = cholesky(identity(bent) + product(bent, transpose(bent)))
    inverse = solve_lower(factor, identity(factor))
    precision = square(inverse)
    gain = product(product(transpose(root), ahead), precision)
    return Backward(gain, solve_lower(inner, root), product(dynamics.covariance[None], precision))


def smooth(filtered: Filtered, backward: Backward, present: Array) -> tuple[Array, Array]:
    """Rauch, Tung and Striebel's (1965) pass: means `[T, q, b]` and covariances `[T, q, q, b]` given all factors."""

    def step(carry, inputs):
        mean, covariance = carry
        own, root, predicted, gain, left, present = inputs
        here = present[None] > 0
        mean = own + jnp.where(here, apply(gain, mean - predicted), 0)
        moved = square(left) + product(product(gain, covariance), transpose(gain))
        covariance = jnp.where(here[None], moved, square(root))
        return (mean, covariance), (mean, covariance)

    last = (filtered.mean[-1], square(filtered.root[-1]))
    inputs = (filtered.mean[:-1], filtered.root[:-1], filtered.predicted_mean[1:], *backward[:2], present[1:])
    _, rest = jax.lax.scan(step, last, inputs, reverse=True)
    mean, covariance = (jnp.concatenate([a, b[None]]) for a, b in zip(rest, last, strict=True))
    return mean, covariance


def simulate(filtered: Filtered, backward: Backward, present: Array, noise: Array) -> Array:
    """One draw `[T, q, b]` of the states given all factors, from standard normal `noise` (Carter and Kohn 1994)."""

    def step(after, inputs):
        own, root, predicted, gain, left, present, noise = inputs
        linked = own + apply(gain, after - predicted) + apply(transpose(left), noise)
        drawn = jnp.where(present[None] > 0, linked, own + apply(transpose(root), noise))
        return drawn, drawn

    last = filtered.mean[-1] + apply(transpose(filtered.root[-1]), noise[-1])
    inputs = (filtered.mean[:-1], filtered.root[:-1], filtered.predicted_mean[1:], *backward[:2], present[1:])
    _, rest = jax.lax.scan(step, last, (*inputs, noise[:-1]), reverse=True)
    return jnp.concatenate([rest, last[None]])
