"""Weights as a precision can hold them, and rows of weight 0 in a form that cannot touch any result."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, PyTree

from jaxem._errors import DataError

# Weights of which the largest is between these, and none is lost, are taken as they are.
_LEAST, _MOST = 2.0**-40, 2.0**80


def with_copies(data: PyTree, present: Bool[np.ndarray, " n"]) -> PyTree:
    """The same rows, but those that are not `present` as copies of the first that is; on the host."""
    index = np.where(present, np.arange(len(present)), int(np.argmax(present)))
    return jax.tree.map(lambda leaf: leaf[index], data)


class Held(NamedTuple):
    """Weights `[n]` in the precision of a fit, in units of `unit`: those that were given are `values * unit`.

    `unit` is a power of 2, and 1 unless the weights that were given do not suit the precision. Sums over rows, such as
    a log-likelihood, are `unit` times those under `values`; a mean over rows is the same.
    """

    values: np.ndarray
    unit: float


class Span(NamedTuple):
    """The least and the largest of the weights that are not 0, and how many these are."""

    least: float
    most: float
    used: int

    @staticmethod
    def of(weights: Any) -> "Span":
        positive = np.asarray(weights, np.float64)
        positive = positive[positive > 0]
        return Span(float(positive.min(initial=math.inf)), float(positive.max(initial=0.0)), positive.size)

    @staticmethod
    def around(spans: Any) -> "Span":
        """That of several together, `[m, 3]`."""
        spans = np.asarray(spans, np.float64)
        return Span(float(spans[:, 0].min()), float(spans[:, 1].max()), int(spans[:, 2].sum()))


def held(weights: Any, dtype: Any, *, rescale: bool = True, span: Span | None = None) -> Held:
    """Weights in the precision `dtype`, with every positive one still positive.

    What maximises a likelihood depends on weights only up to a common factor. So tiny or huge ones are held in another
    unit. A prior has a weight of its own, 1: with one, or wherever else the scale matters, pass `rescale=False`.

    **Arguments:**

    - `weights`: `[n]`, finite, not negative and not all 0, on the host and in any precision.
    - `dtype`: `float32` or `float64`.
    - `rescale`: whether another unit than 1 may be taken.
    - `span`: that of all weights, where these are some of them.

    **Returns:** `Held`. Raises `DataError`, which names a row, where the precision cannot hold all weights: they span
    too many orders of magnitude, or would have to be rescaled and may not be.

    **Example**

    >>> import numpy as np
    >>> from jaxem.engine.weights import held
    >>> values, unit = held(np.array([1e-50, 3e-50, 0.0]), np.float32)
    >>> (values[1] / values[0]).round(3).item(), float(f"{float(values[0]) * unit:.3g}")
    (3.0, 1e-50)
    """
    given, info = np.asarray(weights), np.finfo(dtype)
    wide = given.astype(np.float64)
    least, most, used = Span.of(wide) if span is None else span

    def fits(unit: float) -> bool:
        return least / unit >= float(info.tiny) and most / unit * used <= math.sqrt(float(info.max)) * 2.0**40

    suits = fits(1.0) and (not rescale or _LEAST <= most <= _MOST)
    unit = 1.0 if suits else 2.0 ** math.floor(math.log2(most))
    if not suits and not fits(unit):
        # As large as the sum allows, for the sake of the smallest.
        unit *= 2.0 ** -math.floor(math.log2(math.sqrt(float(info.max)) * 2.0**39 / used))
    where = "".join(f"row {row} has " for row in np.flatnonzero(wide == least)[:1])
    if not fits(unit):
        raise DataError(
            f"weights: {where}weight {least:.3g} beside {most:.3g}, which {info.dtype} cannot hold together; "
            "use float64, or give such rows weight 0"
        )
    if unit != 1 and not rescale:
        raise DataError(
            f"weights: {where}weight {least:.3g}, which {info.dtype} cannot hold (the largest is {most:.3g}), "
            "and weights are not rescaled here, where their scale counts; multiply all by one number, or use float64"
        )
    return Held((wide / unit).astype(info.dtype), unit)
