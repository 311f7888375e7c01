from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.kernels.chunks import num_rows
from jaxem.update._update import AbstractUpdate


@final
class Stepwise(AbstractUpdate):
    """A block of rows at a time, its statistics entering a decaying average: online EM.

    `s <- (1 - rho_t) s + rho_t sbar(block)`, scaled to the whole data, with `rho_t = (t - hold + delay)^-power` and
    1 for the first `hold` iterations. Blocks are runs of consecutive rows (the last reaches back to stay full) in an
    order drawn anew each pass; shuffle sorted data first. Not monotone: it runs for `max_steps` blocks, and the
    objective in the history is the block's estimate. Cappe and Moulines (2009); Liang and Klein (2009). With
    `jaxem.e_step.Sample` it is stochastic approximation EM (Delyon, Lavielle and Moulines 1999).

    **Arguments:**

    - `rows`: rows in a block; all if `None`.
    - `power`: in (1/2, 1]; smaller forgets faster.
    - `delay`: at least 1; larger starts with smaller steps.
    - `hold`: iterations before averaging begins, in which each block's statistics are used alone.
    - `wait`: blocks that are averaged before the first M-step.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.stepwise_em(rows=256, power=0.7)
    """

    rows: int | None = eqx.field(static=True, default=256)
    power: float = 0.7
    delay: float = 2.0
    hold: int = 0
    wait: int = 0

    exact: ClassVar[bool] = False
    additive: ClassVar[bool] = True

    def __check_init__(self):
        if self.rows is not None and self.rows < 1:
            raise ValueError(f"rows must be at least 1, got {self.rows}")

    def init(self, stats, data, weights, key):
        return jnp.zeros((), jnp.int32), key

    def ready(self, state):
        return state[0] > self.wait

    def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
        n = num_rows(data)
        rows = n if self.rows is None else min(self.rows, n)
        blocks = -(-n // rows)
        turn, order_key = state
        block, w = data, weights
        if blocks > 1:
            order = jax.random.permutation(jax.random.fold_in(order_key, turn // blocks), blocks)
            start = jnp.minimum(order[turn % blocks] * rows, n - rows)
            block, w = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, rows, 0), (data, weights))
        stats, value = expect(block, w, key)
        seen, total = reduce((jnp.sum(w), jnp.sum(weights)))
        share = seen / total
        scale = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1), 0)
        since = jnp.maximum(turn - self.hold, 0).astype(w.dtype)
        gain = jnp.where(turn < self.hold, 1.0, (since + self.delay) ** (-self.power))
        gain = jnp.where(fresh, 1.0, jnp.where(share > 0, gain, 0.0)).astype(w.dtype)
        stats = jax.tree.map(
            lambda old, new: jnp.where(fresh, 0, (1 - gain) * old) + gain * scale * new, translate(previous), stats
        )
        return stats, value * scale, (turn + 1, order_key)
