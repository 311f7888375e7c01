"""A safeguarded step of Newton's method, with a Hessian of blocks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.kernels import linalg
from jaxem.kernels.linalg import einsum, transpose


def newton_step(
    objective: Callable[[list[Array]], Array], blocks: list[Array], masks: list[Array], halvings: int
) -> tuple[list[Array], Array]:
    """One safeguarded Newton step with a Hessian of blocks: `[blocks, size]` arrays that do not interact.

    Directions in which the objective is not concave are followed uphill. The step is halved until the objective rises
    enough (Armijo), and is zero if it never does; the second result says whether it rose. With each halving the least
    curvature that counts grows too, from rounding error to the largest: a direction in which the objective is almost
    flat, where Newton's step goes much too far, must not hold up the others. Coordinates whose mask is zero stay.
    """
    value, gradient = jax.value_and_grad(objective)(blocks)
    gradient = [g * m for g, m in zip(gradient, masks, strict=True)]
    floors = jnp.finfo(value.dtype).eps ** (1 - jnp.arange(halvings + 1, dtype=value.dtype) / max(halvings, 1))
    directions = [
        _uphill(_hessian_block(objective, blocks, i), g, m, floors)
        for i, (g, m) in enumerate(zip(gradient, masks, strict=True))
    ]
    steps = 0.5 ** jnp.arange(halvings + 1, dtype=value.dtype)

    def along(step: Any, direction: list[Array]) -> tuple[list[Array], Array]:
        slope = sum(jnp.sum(g * d) for g, d in zip(gradient, direction, strict=True))
        return [b + step * d for b, d in zip(blocks, direction, strict=True)], value + 1e-4 * step * slope

    def tried(step: Any, direction: list[Array]) -> Array:
        there, bound = along(step, direction)
        return not_below(objective(there), bound, value)

    rises = jax.vmap(tried)(steps, directions)
    first = jnp.argmax(rises)
    rose = jnp.any(rises)
    return along(jnp.where(rose, steps[first], 0), [d[first] for d in directions])[0], rose


def not_below(values: Array, bound: Array, scale: Array) -> Array:
    """Whether `values` reach `bound`, up to what rounding leaves in a value of this scale.

    Without that allowance the last steps before convergence would be rejected.
    """
    return jnp.isfinite(values) & (values >= bound - 4 * jnp.finfo(scale.dtype).eps * jnp.abs(scale))


def _hessian_block(objective, blocks: list[Array], i: int) -> Array:
    """The diagonal blocks `[b, m, m]` of group `i`, from `m` Hessian-vector products for all of them at once."""
    size = blocks[i].shape[1]

    def column(unit):
        tangent = [jnp.zeros_like(b) for b in blocks]
        tangent[i] = jnp.broadcast_to(unit, blocks[i].shape)
        return jax.jvp(jax.grad(objective), (blocks,), (tangent,))[1][i]

    return jnp.swapaxes(jax.vmap(column)(jnp.eye(size, dtype=blocks[i].dtype)), 0, 1)


def _uphill(hessian: Array, gradient: Array, mask: Array, floors: Array) -> Array:
    """Newton's directions, `[j, b, m]`: no curvature counts as less than each of these shares of the largest."""
    if gradient.shape[1] == 0:
        return jnp.broadcast_to(gradient[None], (floors.shape[0], *gradient.shape))
    both = mask[:, :, None] * mask[:, None, :]
    eye = jnp.eye(mask.shape[1], dtype=mask.dtype)[None]
    curvature = -(hessian + transpose(hessian)) / 2 * both + (1 - mask)[:, :, None] * eye
    values, vectors = linalg.eigh(curvature)
    size = jnp.abs(values)
    least = jnp.finfo(size.dtype).eps * size.shape[-1] * jnp.max(size, -1, keepdims=True)
    least = jnp.maximum(least[None], floors[:, None, None] * jnp.max(size, -1, keepdims=True)[None])
    size = jnp.maximum(size[None], jnp.maximum(least, jnp.finfo(size.dtype).tiny))
    inside = einsum("bji,bj->bi", vectors, gradient)[None] / size
    return einsum("bij,sbj->sbi", vectors, inside) * mask[None]
