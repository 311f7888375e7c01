"""Numbers of rows from a short list, so that a table of another length finds its programs compiled.

Rows are added that have weight 0, which are no rows: everything leaves them out. Sequences get steps after their end.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem.engine.convert import is_concrete
from jaxem.kernels.chunks import num_rows

Lengthen = Callable[[Any, Callable[[int], int]], tuple[Any, int]]  # see `AbstractModel.lengthen`

FITTED, ASKED = 16, 256  # the least rows of a table that a fit runs over, and of one that is evaluated once
_FEWEST_STEPS = 16  # of sequences
_MOST_ROWS, _MOST_NUMBERS = 2**16, 2**24
_FEW_NUMBERS = 2**12  # to fill a table up to as many costs nothing that could be measured


# Each at most an eighth more than the least that the one before leaves out; from 24 on multiples of 4, which documents
# are taken by.
_SMALL = (*range(1, 8), *range(9, 16, 2), 18, 21, *range(24, 57, 4), *range(64, 97, 8), 108, 120, 136, 152, 172, 192)


def _ladder(most: int) -> list[int]:
    """The small numbers, and as few up to `most` as go on like them, cut to seven binary digits."""
    sizes = [*_SMALL, 216, 240, 268, 300]
    while sizes[-1] < most:
        size = (sizes[-1] + 1) * 9 // 8
        grain = 2 ** (size.bit_length() - 7)
        sizes.append(size // grain * grain)
    return sizes


_SIZES = _ladder(_MOST_ROWS)


class Bucket(NamedTuple):
    """A table that was filled up, weights of its rows `[n]`, how many rows came from outside, and how many steps were
    added to every sequence."""

    data: PyTree
    weights: np.ndarray
    num_rows: int
    added_steps: int = 0


def bucket(n: int, numbers_per_row: int, least: int) -> int:
    """The number of rows that `n` are filled up to: at most an eighth more, or few in all.

    Tables of fewer than `least` rows have as many, unless their rows are long.

    **Example**

    >>> from jaxem.engine.buckets import bucket
    >>> [bucket(n, 4, least=16) for n in (1, 17, 149, 150, 70_000)]
    [16, 18, 152, 152, 70000]
    """
    if outlasts_compilation(n, numbers_per_row):
        return n
    few = _few(least, numbers_per_row)
    return few if n <= few else _SIZES[bisect_left(_SIZES, n)]


def bucket_of_steps(n: int, numbers_per_step: int) -> int:
    """The number of steps that sequences of `n` are filled up to: at most a sixteenth more, or few in all."""
    few = _few(_FEWEST_STEPS, numbers_per_step)
    if n <= few:
        return few
    grain = max(2 ** ((n - 1).bit_length() - 5), 1)
    return -(-n // grain) * grain


def _few(least: int, numbers_each: int) -> int:
    """So many rows are always filled up to: `least`, unless that makes many numbers."""
    return min(least, _FEW_NUMBERS // max(numbers_each, 1))


def outlasts_compilation(n: int, numbers_per_row: int) -> bool:
    """Whether a run over so many rows takes longer than the compilation that other sizes would save."""
    return n > _MOST_ROWS or n * numbers_per_row > _MOST_NUMBERS


def filled(data: PyTree, weights: Any, dtype: Any, least: int, lengthen: Lengthen | None = None) -> Bucket | None:
    """`data` and `weights` filled up with copies of its first rows, of weight 0; `None` where nothing is to be added.

    Weights of 1 are added to a table without any, so that one that is full has the programs of those that are not.
    A model of sequences says how to `lengthen` them. Data that are traced, bound to devices, or not in this machine's
    memory stay as they are.
    """
    leaves = jax.tree.leaves(data)
    if not is_concrete((data, weights)) or not all(map(on_host, leaves)):
        return None
    n, size, added = num_rows(data), sum(leaf.size for leaf in leaves), 0
    given = data
    if lengthen is not None and not outlasts_compilation(n, size // n):
        data, added = lengthen(data, partial(_steps, size))
        size = sum(leaf.size for leaf in jax.tree.leaves(data))
    total = bucket(n, size // n, least)
    if total == n and data is given and (weights is not None or outlasts_compilation(n, size // n)):
        return None
    index = np.arange(total) % n
    own = np.ones(n, dtype) if weights is None else np.asarray(weights)
    full = np.concatenate([own, np.zeros(total - n, own.dtype)])
    return Bucket(jax.tree.map(lambda leaf: np.asarray(leaf)[index], data), full, n, added)


def _steps(size: int, steps: int) -> int:
    return bucket_of_steps(steps, size // steps)


def without_fill(answer: PyTree, table: Bucket, by_step: bool = False) -> PyTree:
    """The rows of every array of an answer that came from outside; of answers `by_step`, `[n, T, ...]`, the steps too.

    By NumPy: JAX would compile it for every number.
    """

    def own(leaf: Any) -> Any:
        leaf = np.asarray(leaf)[: table.num_rows]
        return jax.device_put(leaf[:, : leaf.shape[1] - table.added_steps] if by_step else leaf)

    return jax.tree.map(own, answer)


def on_host(leaf: Any) -> bool:
    """Whether an array is in this machine's memory, and not bound to a device."""
    if isinstance(leaf, np.ndarray):
        return jax.default_backend() == "cpu"
    return not leaf.committed and all(device.platform == "cpu" for device in leaf.devices())
