from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.record._record import AbstractRecord, Report


@final
class Draws(AbstractRecord):
    """Iterates kept as draws, `Fit.draws`, along a leading axis: the output of a Gibbs sampler.

    The parameters of the fit are the last draw. Slots that the run did not reach hold NaN (minus one for integers).

    **Arguments:**

    - `size`: how many are kept.
    - `burn_in`: iterations left out.
    - `thin`: one iteration in so many is kept.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.gibbs(draws=500, burn_in=100)
    """

    size: int = eqx.field(static=True, default=1000)
    burn_in: int = 0
    thin: int = 1

    def __check_init__(self):
        if self.size < 1 or self.burn_in < 0 or self.thin < 1:
            raise ValueError(f"draws need size >= 1, burn_in >= 0 and thin >= 1, got {self}")

    def init(self, params, dtype):
        def empty(leaf):
            filler = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else -1
            return jnp.full((self.size, *leaf.shape), filler, leaf.dtype)

        return jax.tree.map(empty, params)

    def add(self, state, params, num_steps, max_steps):
        since = num_steps - self.burn_in - 1
        slot = since // self.thin
        kept = (since >= 0) & (since % self.thin == 0) & (slot < self.size)
        slot = jnp.clip(slot, 0, self.size - 1)
        return jax.tree.map(lambda all, new: all.at[slot].set(jnp.where(kept, new, all[slot])), state, params)

    def report(self, state):
        return Report(draws=state)
