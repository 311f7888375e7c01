"""Where the rows of a table lie: those with the same entries missing side by side, so that they share what that takes.

What to integrate the missing entries of a row out takes depends on which they are alone. `by_gaps` sorts the rows, on
the host, and adds rows of weight 0, so that from the first on each block of so many rows lacks the same entries. The
model is told how many (`laid_out`), and works out once for each block what its rows share: nothing else need know, and
the patterns themselves are no part of a program. How long a block is comes from a short list, as does the number of
rows.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem.engine.buckets import FITTED, bucket, on_host
from jaxem.engine.convert import is_concrete
from jaxem.kernels.gaps import Blocks

_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
_BLOCK = 2.0  # what a product of a form costs beside the same number of operations of a product of rows
_APART = 1.5  # the same of what each row takes by itself


class Laid(NamedTuple):
    """A table that was sorted and filled up, weights of its rows, and the blocks that they lie in."""

    data: PyTree
    weights: np.ndarray
    blocks: Blocks


def by_gaps(model: Any, data: PyTree, weights: Any, dtype: Any) -> Laid | None:
    """`data` sorted by the entries that the bound `model` says are missing; `None` where that would not help.

    Data that are traced, bound to devices, or not in this machine's memory stay as they are.
    """
    leaves = jax.tree.leaves(data)
    if not is_concrete((data, weights)) or not all(map(on_host, leaves)):
        return None
    gaps = model.gaps(jax.tree.map(np.asarray, data))
    if gaps is None:
        return None
    n, d = gaps.shape
    options = [_option(gaps, apart) for apart in sorted({0, d // 2 if d >= 8 else 0})]
    cost, blocks, pattern, counts = min(options, key=lambda option: option[0])
    if cost >= _cost(d, Blocks(n, d), n):
        return None
    rows = -(-counts // blocks.rows) * blocks.rows
    own = np.ones(n, dtype) if weights is None else np.asarray(weights)
    order = np.argsort(pattern, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    index = np.repeat(order[first], rows)
    places = np.arange(n) + np.repeat(np.cumsum(rows) - rows - first, counts)
    index[places] = order
    there = np.zeros(len(index), bool)
    there[places] = True
    total = bucket(len(index), sum(leaf.size for leaf in leaves) // n, FITTED)
    more = -(-total // blocks.rows) * blocks.rows - len(index)
    index, there = np.concatenate([index, np.full(more, index[-1])]), np.concatenate([there, np.zeros(more, bool)])
    taken = jax.tree.map(lambda leaf: np.asarray(leaf)[index], data)
    return Laid(taken, np.where(there, own[index], np.zeros((), own.dtype)), blocks)


def _option(gaps: np.ndarray, apart: int) -> tuple[float, Blocks, np.ndarray, np.ndarray]:
    """The cheapest blocks of rows that may differ in the last so many columns: cost, patterns and their counts."""
    packed = np.packbits(gaps[:, : gaps.shape[1] - apart], axis=1)
    keys = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}")[:, 0]
    _, pattern, counts = np.unique(keys, return_inverse=True, return_counts=True)
    each = [Blocks(rows, apart) for rows in _LENGTHS]
    costs = [_cost(gaps.shape[1], blocks, int(np.sum(-(-counts // blocks.rows) * blocks.rows))) for blocks in each]
    best = int(np.argmin(costs))
    return costs[best], each[best], pattern, counts


def _cost(d: int, blocks: Blocks, n: int) -> float:
    """What an iteration over `n` rows takes, about, in operations of a matrix product of rows, for each member."""
    together, apart = d - blocks.apart, blocks.apart
    row = 2 * d**2 if apart == 0 else 4 * d**2 + _APART * (2 * apart**3 + 8 * apart**2)
    block = _BLOCK * (together**3 + 8 * d**3) if together else 0
    return n * row + n / blocks.rows * block
