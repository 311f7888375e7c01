"""A function of the parameters in all replicates: its spread, its bias and its intervals."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree
from scipy import special

from jaxem._arguments import require_level
from jaxem._errors import DataError
from jaxem.information._functions import Interval, like
from jaxem.information._names import leaves_of, split_like
from jaxem.information._scales import reflected

METHODS = ("percentile", "basic", "bca")


@dataclasses.dataclass(frozen=True)
class Replicates:
    """A function of the parameters: its value for those of the fit, and for those of each replicate.

    **Attributes:**

    - `value`: for the fit, a tree.
    - `values`: for the replicates, the same tree with a leading axis.
    - `scales`: by the name of each part of `value`, the scale of its basic interval.
    - `acceleration`: a function without arguments: the acceleration of each number, for BCa intervals.
    """

    value: PyTree
    values: PyTree
    scales: dict[str, str] = dataclasses.field(repr=False)
    acceleration: Callable[[], np.ndarray] = dataclasses.field(repr=False)

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray]:
        """All numbers in the order of `ravel_pytree`: of the fit `[m]`, and of the replicates `[b, m]`."""
        leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(self.values)]
        value = [np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(self.value)]
        return np.concatenate(value), np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)

    @property
    def _apart(self) -> np.ndarray:
        """How far each replicate is from the first: 0 where all are the same, whose mean may differ by a digit."""
        values = self._flat[1]
        return values - values[:1]

    @property
    def standard_errors(self) -> PyTree:
        """The standard deviation of the replicates, a tree like `value`."""
        return like(self.value, np.std(self._apart, 0, ddof=1))

    @property
    def bias(self) -> PyTree:
        """The mean of the replicates less the value of the fit."""
        value, values = self._flat
        return like(self.value, np.mean(values - value[None], 0))

    @property
    def covariance(self) -> Float[np.ndarray, "m m"]:
        """The covariance of all `m` numbers, in the order of `jax.flatten_util.ravel_pytree`."""
        return np.atleast_2d(np.cov(self._apart, rowvar=False))

    def interval(self, level: float = 0.95, method: str = "percentile") -> Interval:
        """The interval of each number, with a probability `level` of holding it in large samples.

        **Arguments:**

        - `level`: between 0 and 1.
        - `method`:

            - `"percentile"`: from quantile to quantile of the replicates, whatever the scale.
            - `"basic"`: these reflected at the value of the fit, on the scale of logarithms for what is positive and of
                log-odds for probabilities (`scales` of the result), as in `jaxem.information.Information.interval`.
            - `"bca"`: from other quantiles, corrected for bias and acceleration (Efron 1987), of rows that are drawn.
                The acceleration is that of the infinitesimal jackknife: from the scores of rows, or of groups of them,
                and the information matrix, which takes no further fits.

        **Returns:** `jaxem.information.Interval`: trees `lower` and `upper`. Davison and Hinkley (1997), chapter 5.

        **Raises:** `DataError` for wrong arguments; for `"bca"` what `jaxem.information.observed` raises.
        """
        require_level(level)
        if method not in METHODS:
            raise DataError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        value, values = self._flat
        tails = np.array([(1 - level) / 2, (1 + level) / 2])[:, None] * np.ones((1, len(value)))
        if method == "bca":
            tails = self._corrected(tails)
        low, high = _quantiles(values, tails)
        if method == "basic":
            low, high = self._reflected(high), self._reflected(low)
        return Interval(like(self.value, low), like(self.value, high), self.scales)

    def _reflected(self, bound: np.ndarray) -> np.ndarray:
        parts = zip(leaves_of(self.value), split_like(self.value, bound), strict=True)
        return np.concatenate([reflected(value, part, self.scales[name]).ravel() for (name, value), part in parts])

    def _corrected(self, tails: np.ndarray) -> np.ndarray:
        """The probabilities of the quantiles that are taken in the place of `tails`, `[2, m]`."""
        value, values = self._flat
        below = np.mean(values < value, 0) + np.mean(values == value, 0) / 2
        b = len(values)
        centre = special.ndtri(np.clip(below, 0.5 / b, 1 - 0.5 / b))
        moved = centre + special.ndtri(tails)
        return special.ndtr(centre + moved / (1 - self.acceleration() * moved))


def replicates_of(fn: Callable[[PyTree], PyTree], params: PyTree, stack: PyTree, acceleration: Any) -> Replicates:
    """Any function of the parameters."""
    value = fn(params)
    scales = {name: "identity" for name, _ in leaves_of(value)}
    return Replicates(value, jax.vmap(fn)(stack), scales, acceleration)


def _quantiles(values: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Of each column, the order statistics whose expected ranks are `tails` of all and one more, `[2, m]`."""
    b = len(values)
    rank = np.clip(tails * (b + 1) - 1, 0, b - 1)
    lost = ~np.isfinite(values).all(0) | ~np.isfinite(rank).all(0)
    rank = np.where(np.isfinite(rank), rank, 0)
    ordered, low = np.sort(values, 0), np.floor(rank).astype(int)
    first = np.take_along_axis(ordered, low, 0)
    second = np.take_along_axis(ordered, np.minimum(low + 1, b - 1), 0)
    return np.where(lost, np.nan, first + (rank - low) * (second - first))
