from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.kernels.linalg import einsum, transpose
from jaxem.m_step._m_step import AbstractMStep


@final
class Newton(AbstractMStep):
    """One safeguarded Newton step on Q: the EM gradient algorithm.

    In unconstrained coordinates, a block of the Hessian for each component. Directions in which Q is not concave are
    followed uphill (eigenvalues of the negative Hessian are replaced by their absolute value, and kept off zero). The
    step is halved until Q rises enough (Armijo), and is zero if it never does, so that the likelihood never falls.
    Lange (1995).

    **Arguments:**

    - `halvings`: how often the step is halved before it is given up.

    **Example**

    >>> import jaxem
    >>> jaxem.em_gradient().m_step
    Newton(halvings=10)
    """

    halvings: int = eqx.field(static=True, default=10)

    def __call__(self, surrogate, params, state, key):
        model = surrogate.model
        free = model.unconstrain(params)
        blocks, undo = model.blocks(free)
        mask = jax.tree.map(lambda leaf, on: jnp.full_like(leaf, 1.0 if on else 0.0), free, model.trainable(free))
        masks, _ = model.blocks(mask)

        def q(blocks: list[Array]) -> Array:
            return surrogate(model.constrain(undo(blocks)))

        value, gradient = jax.value_and_grad(q)(blocks)
        gradient = [g * m for g, m in zip(gradient, masks, strict=True)]
        direction: list[Array] = []
        for i, (g, m) in enumerate(zip(gradient, masks, strict=True)):
            # One decomposition after the other: see `linalg.cholesky`.
            after = sum((jnp.sum(d) for d in direction), jnp.zeros((), value.dtype))
            direction.append(_uphill(_hessian_block(q, blocks, i) + 0 * after, g, m))
        slope = sum(jnp.sum(g * d) for g, d in zip(gradient, direction, strict=True))
        steps = 0.5 ** jnp.arange(self.halvings + 1, dtype=value.dtype)

        def along(step):
            return q([b + step * d for b, d in zip(blocks, direction, strict=True)])

        values = jax.vmap(along)(steps)
        # What rounding leaves in Q must not reject the last steps before convergence.
        slack = 4 * jnp.finfo(value.dtype).eps * jnp.abs(value)
        rises = jnp.isfinite(values) & (values >= value + 1e-4 * steps * slope - slack)
        step = jnp.where(jnp.any(rises), steps[jnp.argmax(rises)], 0)
        moved = model.constrain(undo([b + step * d for b, d in zip(blocks, direction, strict=True)]))
        fixed = model.trainable(params)
        moved = jax.tree.map(lambda new, old, on: new if on else old, moved, params, fixed)
        return jax.tree.map(lambda new, old: jnp.where(step > 0, new, old), moved, params), state


def _hessian_block(q, blocks: list[Array], i: int) -> Array:
    """The diagonal blocks `[b, m, m]` of group `i`, from `m` Hessian-vector products for all of them at once."""
    size = blocks[i].shape[1]

    def column(unit):
        tangent = [jnp.zeros_like(b) for b in blocks]
        tangent[i] = jnp.broadcast_to(unit, blocks[i].shape)
        return jax.jvp(jax.grad(q), (blocks,), (tangent,))[1][i]

    return jnp.swapaxes(jax.vmap(column)(jnp.eye(size, dtype=blocks[i].dtype)), 0, 1)


def _uphill(hessian: Array, gradient: Array, mask: Array) -> Array:
    if gradient.shape[1] == 0:
        return gradient
    both = mask[:, :, None] * mask[:, None, :]
    eye = jnp.eye(mask.shape[1], dtype=mask.dtype)[None]
    curvature = -(hessian + transpose(hessian)) / 2 * both + (1 - mask)[:, :, None] * eye
    values, vectors = jnp.linalg.eigh(curvature)
    size = jnp.abs(values)
    least = jnp.finfo(size.dtype).eps * size.shape[-1] * jnp.max(size, -1, keepdims=True)
    size = jnp.maximum(size, jnp.maximum(least, jnp.finfo(size.dtype).tiny))
    inside = einsum("bji,bj->bi", vectors, gradient) / size
    return einsum("bij,bj->bi", vectors, inside) * mask
