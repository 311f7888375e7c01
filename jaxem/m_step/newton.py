from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.kernels.newton import newton_step
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
    >>> jaxem.em_gradient().m_step.halvings
    10
    """

    halvings: int = eqx.field(static=True, default=10)

    def __call__(self, surrogate, params, state, key):
        model = surrogate.model
        free = model.unconstrain(params)
        blocks, undo = model.blocks(free)
        mask = jax.tree.map(lambda leaf, on: jnp.full_like(leaf, 1.0 if on else 0.0), free, model.trainable(free))
        masks, _ = model.blocks(mask)
        moved, rose = newton_step(lambda blocks: surrogate(model.constrain(undo(blocks))), blocks, masks, self.halvings)
        moved = model.constrain(undo(moved))
        trainable = model.trainable(params)
        return jax.tree.map(
            lambda new, old, on: jnp.where(rose, new, old) if on else old, moved, params, trainable
        ), state
