from collections.abc import Callable
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.kernels.chunks import block_of, num_rows
from jaxem.kernels.sums import inner
from jaxem.update._update import AbstractUpdate

Cache = tuple[Array, PyTree, Array]  # turn; statistics `[blocks, ...]` and entropy `[blocks]` of each block


class AbstractKept(AbstractUpdate):
    """The statistics of every block are kept, and a step replaces those of one: its state is a `Cache`."""

    additive: ClassVar[bool] = True

    def ready(self, state):
        return state[0] >= state[2].shape[0]

    def comparable(self, state):
        return state[0] % state[2].shape[0] == 0


@final
class Incremental(AbstractKept):
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

    def __check_init__(self):
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")

    def _count(self, n: int) -> int:
        return -(-n // -(-n // self.blocks))

    def init(self, stats, data, weights, key):
        return _empty(self._count(num_rows(data)), stats, weights)

    def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
        turn, _, entropy = state
        count = entropy.shape[0]
        block, w = block_of(data, weights, turn % count, -(-num_rows(data) // count))
        return _replaced(expect(block, w, key), translate, natural, state)


@final
class IncrementalOverBatches(AbstractKept):
    """`Incremental` where the rows at hand are the block: batches come in turn, the same ones in every pass."""

    batches: int = eqx.field(static=True)

    def init(self, stats, data, weights, key):
        return _empty(self.batches, stats, weights)

    def __call__(self, expect, translate, natural, previous, fresh, data, weights, state, key, reduce):
        return _replaced(expect(data, weights, key), translate, natural, state)


def _empty(count: int, stats: PyTree, weights: Array) -> Cache:
    cache = jax.tree.map(lambda s: jnp.zeros((count, *s.shape), s.dtype), stats)
    return jnp.zeros((), jnp.int32), cache, jnp.zeros(count, weights.dtype)


def _replaced(
    found: tuple[PyTree, Array], translate: Callable[[PyTree], PyTree], natural: PyTree, state: Cache
) -> tuple[PyTree, Array, Cache]:
    """The sum over all blocks, the free energy, and the cache, with what was found of the block whose turn it is."""
    (stats, value), (turn, cache, entropy) = found, state
    index = turn % entropy.shape[0]
    cache = jax.vmap(translate)(cache)
    cache = jax.tree.map(lambda all, new: all.at[index].set(new), cache, stats)
    entropy = entropy.at[index].set(value - inner(natural, stats))
    # Summed anew each time: differences of running sums would drift.
    total = jax.tree.map(lambda all: jnp.sum(all, 0), cache)
    return total, inner(natural, total) + jnp.sum(entropy), (turn + 1, cache, entropy)
