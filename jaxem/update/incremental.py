from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem.kernels.chunks import block_of, num_rows
from jaxem.kernels.sums import inner
from jaxem.update._update import AbstractUpdate


@final
class Incremental(AbstractUpdate):
    """A block of rows at a time, its statistics taking the place of those it gave the last time: incremental EM.

    Every block's statistics are kept, `blocks` times the size of the parameters. The free energy
    `E_q[log joint] + H(q)`, with each block's posterior as old as its last visit, never falls, and is what the history
    holds; it meets the log-likelihood at convergence, at the fixed points of EM. The first `blocks` iterations fill the
    cache without an M-step, and gains are judged once a pass. About half the passes of EM where there are many rows.
    Neal and Hinton (1998).

    **Arguments:**

    - `blocks`: how many, of consecutive rows.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.incremental_em(blocks=8)
    """

    blocks: int = eqx.field(static=True, default=8)

    additive: ClassVar[bool] = True

    def __check_init__(self):
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")

    def _count(self, n: int) -> int:
        return -(-n // -(-n // self.blocks))

    def init(self, stats, data, weights, key):
        count = self._count(num_rows(data))
        cache = jax.tree.map(lambda s: jnp.zeros((count, *s.shape), s.dtype), stats)
        return jnp.zeros((), jnp.int32), cache, jnp.zeros(count, weights.dtype)

    def ready(self, state):
        return state[0] >= state[2].shape[0]

    def comparable(self, state):
        return state[0] % state[2].shape[0] == 0

    def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
        turn, cache, entropy = state
        count = entropy.shape[0]
        rows = -(-num_rows(data) // count)
        index = turn % count
        block, w = block_of(data, weights, index, rows)
        stats, value = expect(block, w, key)
        cache = jax.vmap(translate)(cache)
        cache = jax.tree.map(lambda all, new: all.at[index].set(new), cache, stats)
        entropy = entropy.at[index].set(value - inner(natural, stats))
        # Summed anew each time: differences of running sums would drift.
        total = jax.tree.map(lambda all: jnp.sum(all, 0), cache)
        return total, inner(natural, total) + jnp.sum(entropy), (turn + 1, cache, entropy)
