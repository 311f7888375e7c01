"""Fits under a constraint as points of a profile, with values on a scale."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem._model import AbstractModel
from jaxem.information._limits import Point, Profiler
from jaxem.information._ridge import ridge
from jaxem.information._scalar import ENDS, Scalar
from jaxem.information._scales import scale_of

_FAR = 1e4  # standard errors
_NOTHING = 30.0  # a number whose logarithm is less by so much is none beside the other


class Search(NamedTuple):
    """Fits under a constraint, from parameters and along directions that are given, with values on a scale."""

    model: AbstractModel
    params: PyTree
    data: Any
    weights: Any
    what: Scalar
    root: np.ndarray
    centre: float
    unit: float
    max_steps: int
    lanes: int

    def profiler(self, tangent: np.ndarray, level: float, side: int = 0, fit: Point | None = None) -> Profiler:
        """Points of a profile, on one `side` of the `fit` where that lies on a bound."""
        dtype, ends = jax.tree.leaves(self.params)[0].dtype, list(_ends(self.what, self.centre, self.unit))
        if fit is not None:
            ends[(1 - side) // 2] = fit.value
        fixed = {
            "weights": self.weights,
            "fn": self.what.fn,
            "scale": jnp.asarray(list(ENDS).index(self.what.scale), jnp.int32),
            "root": jnp.asarray(self.root, dtype),
            "centre": jnp.asarray(self.centre, dtype),
            "unit": jnp.asarray(self.unit, dtype),
            "max_steps": self.max_steps,
        }

        def run(targets: np.ndarray, starts: np.ndarray, bound: np.ndarray) -> Any:
            given = {"targets": jnp.asarray(targets, dtype), "starts": jnp.asarray(starts, dtype)}
            return ridge(self.model, self.params, self.data, **fixed, **given, bound=jnp.asarray(bound))

        return Profiler(run, self.lanes, tangent, level, float(jnp.finfo(dtype).eps) ** 0.3, (ends[0], ends[1]), fit)

    def there(self, values: Any) -> np.ndarray:
        return (scale_of(self.what.scale).there(np.asarray(values, float)) - self.centre) / self.unit

    def back(self, t: Any) -> np.ndarray:
        return scale_of(self.what.scale).back(self.centre + self.unit * np.asarray(t, float))


def _ends(what: Scalar, centre: float, unit: float) -> tuple[float, float]:
    """Where values are as good as those at the ends of the scale, in standard errors from the fit."""
    if what.scale == "identity":
        return -_FAR, _FAR
    high = _NOTHING if what.scale == "logit" else centre + _NOTHING
    return (min(-_NOTHING, centre) - centre) / unit if what.scale == "logit" else -_NOTHING / unit, (
        high - centre
    ) / unit
