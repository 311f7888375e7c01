"""What `fit_many` is given: which arguments have an axis of fits, and their rows through the door of data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._algorithm import Algorithm
from jaxem._errors import DataError
from jaxem.engine.buckets import FITTED, Lengthen, bucket, bucket_of_steps, outlasts_compilation
from jaxem.engine.convert import as_weights, float_dtype
from jaxem.engine.door import for_fit, held_for
from jaxem.engine.weights import Span

_ARGUMENTS = ("data", "weights", "model", "init")


class ManyRows(NamedTuple):
    """Data `[problems, n, ...]` or `[n, ...]`, weights `[problems, n]` or `[n]` in units of `unit`.

    `total` is the sum over fits of weights in which these differ, with common data; `None` otherwise.
    """

    data: PyTree
    weights: np.ndarray
    unit: float
    total: np.ndarray | None


class WeightsOfAll(NamedTuple):
    """What is known of the weights of all fits where those at hand are some of them: their sum over fits, and span.

    The coordinates of common data, and the unit that weights are held in, are of these.
    """

    total: np.ndarray
    span: Span

    @staticmethod
    def of(weights: np.ndarray) -> "WeightsOfAll":
        """Of weights `[fits, n]`."""
        return WeightsOfAll(weights.sum(0, dtype=np.float64), Span.of(weights))


def arguments_over(over: str | Sequence[str] | None, data: PyTree, weights: Any) -> tuple[str, ...]:
    """The arguments that have a leading axis of fits."""
    if over is not None:
        names = (over,) if isinstance(over, str) else tuple(over)
        for name in names:
            if name not in _ARGUMENTS:
                raise DataError(f"over: no argument {name!r} can have an axis of fits; choose from {_ARGUMENTS}")
        if not names:
            raise DataError(f"over is empty: name the arguments that have an axis of fits, of {_ARGUMENTS}")
        return tuple(name for name in _ARGUMENTS if name in names)
    if weights is None or np.ndim(weights) < 2:
        return ("data",)
    lengths = {leaf.shape[:2] for leaf in jax.tree.leaves(data)}
    weights = weights if hasattr(weights, "shape") else np.asarray(weights)
    own, common = lengths == {weights.shape}, {shape[0] for shape in lengths} == {weights.shape[1]}
    if own and common:
        raise DataError(
            f"the shapes of data and weights mean two things: pass over='weights' if data are {weights.shape[1]} rows "
            "common to all fits, over=('data', 'weights') if there is a table for each"
        )
    if not own and not common:
        raise DataError(
            f"weights of shape {weights.shape} are for {weights.shape[1]} rows, or for as many in each of "
            f"{weights.shape[0]} tables; data have shape {jax.tree.leaves(data)[0].shape}"
        )
    return ("data", "weights") if own else ("weights",)


def count_fits(over: tuple[str, ...], values: dict[str, Any]) -> int:
    """How many fits there are."""
    counts = {}
    for name in over:
        leaves = [leaf for leaf in jax.tree.leaves(values[name]) if eqx.is_array(leaf)]
        if not leaves or any(leaf.ndim == 0 for leaf in leaves):
            raise DataError(f"over={name!r}: {name} has no leading axis of fits")
        lengths = {leaf.shape[0] for leaf in leaves}
        if len(lengths) > 1:
            raise DataError(f"over={name!r}: the arrays of {name} have different leading axes, {sorted(lengths)}")
        counts[name] = lengths.pop()
    if len(set(counts.values())) > 1:
        raise DataError(f"the arguments in over have different numbers of fits: {counts}")
    if 0 in counts.values():
        raise DataError(f"{next(iter(counts))} is empty: it has 0 fits")
    return next(iter(counts.values()))


def admitted_rows(
    model: Any,
    algorithm: Algorithm,
    data: PyTree,
    weights: np.ndarray | None,
    over: tuple[str, ...],
    count: int,
    of_all: WeightsOfAll | None = None,
) -> ManyRows:
    """Data and weights through the door, all rows as one table, and filled up with rows of weight 0.

    If weights differ and these are those of some fits, `of_all` tells of those of all.
    """
    several = "data" in over
    if several:
        shapes = {leaf.shape[:2] for leaf in jax.tree.leaves(data)}
        if len(shapes) > 1 or any(len(shape) < 2 for shape in shapes):
            raise DataError(f"data must have leading axes [fits, rows], the same in all tables, got {sorted(shapes)}")
        n = shapes.pop()[1]
    else:
        n = jax.tree.leaves(data)[0].shape[0] if jax.tree.leaves(data) else 0
    if weights is not None and weights.shape != ((count, n) if "weights" in over else (n,)):
        wanted = f"{count} x {n} numbers, one for each fit and row" if "weights" in over else f"{n} numbers"
        raise DataError(f"weights must be {wanted}, got shape {weights.shape}")
    each = weights if weights is None or "weights" in over else np.broadcast_to(weights, (count, n))
    flat = jax.tree.map(lambda leaf: leaf.reshape(count * n, *leaf.shape[2:]), data) if several else data
    try:
        checked = as_weights(None if each is None else each.reshape(-1), count * n, None)
        without = [] if each is None else np.flatnonzero(~each.any(1))
        if len(without):
            raise DataError(f"weights of fit {without[0]} sum to zero; at least one row needs a positive weight")
        if "weights" in over and of_all is None:
            of_all = WeightsOfAll.of(weights)  # pyright: ignore[reportArgumentType]
        total = None if several or each is None else each.sum(0) if of_all is None else of_all.total
        admitted = for_fit(model, flat, checked if total is None else total)
    except DataError as error:
        where = f" (row r is row r % {n} of fit r // {n})" if several or "weights" in over else ""
        raise DataError(f"{error}{where}") from None
    data, dtype, unit = admitted.data, float_dtype(admitted.data), 1.0
    values = np.ones(n, dtype)
    if weights is not None:
        flat, unit = held_for(model, data, weights.reshape(-1), None if of_all is None else of_all.span)
        values = flat.reshape(weights.shape)
    data = jax.tree.map(np.asarray, data)
    if not algorithm.draws:
        data, values = _filled(data, values, n, model.lengthen, several)
    elif several:
        data = jax.tree.map(lambda leaf: leaf.reshape(count, n, *leaf.shape[1:]), data)
    if several or of_all is None:
        return ManyRows(data, values, unit, None)
    return ManyRows(data, values, unit, np.pad(of_all.total / unit, (0, len(values[0]) - n)).astype(dtype))


def _filled(
    data: PyTree, weights: np.ndarray, n: int, lengthen: Lengthen | None, several: bool
) -> tuple[PyTree, np.ndarray]:
    """Rows of weight 0 for every fit, up to the next number that programs are compiled for; see `engine/buckets.py`."""
    fits = jax.tree.leaves(data)[0].shape[0] // n

    def numbers() -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(data)) // (n * fits)

    if lengthen is not None and not outlasts_compilation(n, numbers()):
        size = n * numbers()
        data, _ = lengthen(data, lambda steps: bucket_of_steps(steps, size // steps))
    index = np.arange(bucket(n, numbers(), FITTED)) % n

    def rows(leaf: np.ndarray) -> np.ndarray:
        return leaf.reshape(fits, n, *leaf.shape[1:])[:, index] if several else leaf[index]

    added = [(0, 0)] * (weights.ndim - 1) + [(0, len(index) - n)]
    return jax.tree.map(rows, data), np.pad(weights, added)
