"""Numbers of rows from a short list, so that a table of another length finds its programs compiled.

Rows are added that have weight 0, which are no rows: everything leaves them out.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem.engine.convert import is_concrete
from jaxem.kernels.chunks import num_rows

FITTED, ASKED = 16, 256  # the least rows of a table that a fit runs over, and of one that is evaluated once
_MOST_ROWS, _MOST_NUMBERS = 2**16, 2**24
_FEW_NUMBERS = 2**12  # to fill a table up to as many costs nothing that could be measured


class Bucket(NamedTuple):
    """A table that was filled up, weights of its rows `[n]`, and how many rows came from outside."""

    data: PyTree
    weights: np.ndarray
    num_rows: int


def bucket(n: int, numbers_per_row: int, least: int) -> int:
    """The number of rows that `n` are filled up to: at most an eighth more, or few in all.

    Tables of fewer than `least` rows have as many, unless their rows are long.

    **Example**

    >>> from jaxem.engine.buckets import bucket
    >>> [bucket(n, 4, least=16) for n in (1, 17, 149, 150, 70_000)]
    [16, 18, 160, 160, 70000]
    """
    if outlasts_compilation(n, numbers_per_row):
        return n
    few = min(least, _FEW_NUMBERS // max(numbers_per_row, 1))
    if n <= few:
        return few
    grain = max(2 ** ((n - 1).bit_length() - 4), 1)
    return -(-n // grain) * grain


def outlasts_compilation(n: int, numbers_per_row: int) -> bool:
    """Whether a run over so many rows takes longer than the compilation that other sizes would save."""
    return n > _MOST_ROWS or n * numbers_per_row > _MOST_NUMBERS


def filled(data: PyTree, weights: Any, dtype: Any, least: int) -> Bucket | None:
    """`data` and `weights` filled up with copies of its first rows, of weight 0; `None` where nothing is to be added.

    Data that are traced, bound to devices, or not in this machine's memory stay as they are.
    """
    leaves = jax.tree.leaves(data)
    if not is_concrete((data, weights)) or not all(map(_on_host, leaves)):
        return None
    n = num_rows(data)
    total = bucket(n, sum(leaf.size for leaf in leaves) // n, least)
    if total == n:
        return None
    index = np.arange(total) % n
    own = np.ones(n, dtype) if weights is None else np.asarray(weights)
    full = np.concatenate([own, np.zeros(total - n, own.dtype)])
    return Bucket(jax.tree.map(lambda leaf: np.asarray(leaf)[index], data), full, n)


def without_fill(answer: PyTree, n: int) -> PyTree:
    """The first `n` rows of every array of an answer. By NumPy: JAX would compile it for every `n`."""
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[:n]), answer)


def _on_host(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray):
        return jax.default_backend() == "cpu"
    return not leaf.committed and all(device.platform == "cpu" for device in leaf.devices())
