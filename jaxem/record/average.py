from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.record._record import AbstractRecord, Report


@final
class Average(AbstractRecord):
    """The average of the iterates after a burn-in: the estimate of stochastic EM, or Polyak averaging.

    With Monte Carlo standard errors by batch means (`Fit.standard_error`), which are right where a batch is longer than
    the iterates remember. Polyak and Juditsky (1992); Flegal and Jones (2010). A run that has not reached the end of
    the burn-in reports its last iterate, and standard errors that are NaN.

    **Arguments:**

    - `burn_in`: the fraction of `max_steps` that is left out.
    - `batches`: for the standard errors.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.stochastic_em(burn_in=0.5)
    """

    burn_in: float = 0.5
    batches: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        if isinstance(self.burn_in, float | int) and not 0 <= self.burn_in < 1:
            raise ValueError(f"burn_in must lie in [0, 1), got {self.burn_in}")
        if self.batches < 2:
            raise ValueError(f"batches must be at least 2, got {self.batches}")

    def init(self, params, dtype):
        sums = jax.tree.map(lambda leaf: jnp.zeros((self.batches, *leaf.shape), leaf.dtype), params)
        last = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
        return sums, jnp.zeros(self.batches, dtype), last

    def add(self, state, params, num_steps, max_steps):
        sums, counts, _ = state
        first = jnp.floor(self.burn_in * max_steps.astype(counts.dtype)).astype(jnp.int32)
        kept = num_steps > first
        batch = (num_steps - first - 1) * self.batches // jnp.maximum(max_steps - first, 1)
        batch = jnp.clip(batch, 0, self.batches - 1)
        one = kept.astype(counts.dtype)
        sums = jax.tree.map(lambda total, new: total.at[batch].add(jnp.where(kept, new, 0)), sums, params)
        return sums, counts.at[batch].add(one), params

    def report(self, state):
        sums, counts, last = state
        total = jnp.sum(counts)
        used = counts > 0
        number = jnp.sum(used.astype(counts.dtype))

        def mean(batches, last):
            return jnp.where(total > 0, jnp.sum(batches, 0) / jnp.maximum(total, 1), last)

        def error(batches, last):
            shape = (self.batches,) + (1,) * last.ndim
            means = batches / jnp.maximum(counts, 1).reshape(shape)
            centre = mean(batches, last)[None]
            squares = jnp.sum(counts.reshape(shape) * jnp.where(used.reshape(shape), (means - centre) ** 2, 0), 0)
            variance = squares / jnp.maximum(number - 1, 1) / jnp.maximum(total, 1)
            return jnp.where(number > 1, jnp.sqrt(variance), jnp.full_like(last, jnp.nan))

        return Report(jax.tree.map(mean, sums, last), jax.tree.map(error, sums, last))
