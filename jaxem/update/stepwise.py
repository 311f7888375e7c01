from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._model import num_rows
from jaxem.update._update import AbstractUpdate


@final
class Stepwise(AbstractUpdate):
    """A block of rows at a time, its statistics entering a decaying average: online EM.

    `s <- (1 - rho_t) s + rho_t sbar(block)`, scaled to the whole data, with `rho_t = (t + delay)^-power`. Blocks are
    runs of consecutive rows (the last reaches back to stay full) in an order drawn anew each pass; shuffle sorted
    data first. Not monotone: it runs for `max_steps` blocks, and the objective in the history is the block's estimate.
    Cappe and Moulines (2009); Liang and Klein (2009).

    **Arguments:**

    - `rows`: rows in a block.
    - `power`: in (1/2, 1]; smaller forgets faster.
    - `delay`: at least 1; larger starts with smaller steps.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.stepwise_em(rows=256, power=0.7)
    """

    rows: int = eqx.field(static=True, default=256)
    power: float = 0.7
    delay: float = 2.0

    exact: ClassVar[bool] = False
    additive: ClassVar[bool] = True

    def __check_init__(self):
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1, got {self.rows}")

    def init(self, data, weights, key):
        return jnp.zeros((), jnp.int32), key

    def __call__(self, expect, model, previous, fresh, data, weights, state, key, reduce):
        n = num_rows(data)
        rows = min(self.rows, n)
        blocks = -(-n // rows)
        turn, order_key = state
        order = jax.random.permutation(jax.random.fold_in(order_key, turn // blocks), blocks)
        start = jnp.minimum(order[turn % blocks] * rows, n - rows)
        block, w = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, rows, 0), (data, weights))
        stats, value = expect(block, w, key)
        seen, total = reduce((jnp.sum(w), jnp.sum(weights)))
        share = seen / total
        scale = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1), 0)
        gain = (turn.astype(w.dtype) + self.delay) ** (-self.power)
        gain = jnp.where(fresh, 1.0, jnp.where(share > 0, gain, 0.0)).astype(w.dtype)
        stats = jax.tree.map(
            lambda old, new: jnp.where(fresh, 0, (1 - gain) * old) + gain * scale * new, previous, stats
        )
        return stats, value * scale, (turn + 1, order_key)
