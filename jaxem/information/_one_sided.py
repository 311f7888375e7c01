"""Where to look for the one limit of a parameter that lies on a bound: a place inside, and directions from there."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from jaxem.information._functions import derivatives
from jaxem.information._identified import complete_root
from jaxem.information._limits import Point
from jaxem.information._matrices import matrices
from jaxem.information._names import leaves_of
from jaxem.information._scalar import ENDS, Scalar
from jaxem.information._scales import scale_of

_BESIDE = -30.0  # units below a place inside, on a scale of logarithms or log-odds, is on the bound but for rounding
_FIRST, _FACTOR, _TIMES, _HALVINGS = 1e-4, 8.0, 30, 6


class Inside(NamedTuple):
    """Parameters near those of the fit, whose entry is no longer on its bound, and what a search from there needs.

    `fit` is the fit as seen from there: the end of the profile, where the deviance is 0.
    """

    params: PyTree
    root: Float[np.ndarray, "p m"]
    tangent: Float[np.ndarray, " m"]
    centre: float
    unit: float
    side: int  # on which the limit lies: 1 above the estimate, -1 below
    bound: float
    fit: Point


def inside(
    model: Any, params: PyTree, data: Any, weights: Any, what: Scalar, value: float, *, held: bool, level: float
) -> Inside | None:
    """A place where the deviance is about that of the limit, or `None` where the parameter has no bound that is known.

    `held`: whether it is the model that keeps the entry where it is, such as a variance at its floor; else the bound
    is where the parameter ends. `level` is the signed root of the deviance at the limit.
    """
    assert what.entry is not None
    if what.scale == "identity":
        return None
    low, high = ENDS[what.scale]
    side = -1 if what.scale == "logit" and value > 0.5 else 1
    bound = value if held else low if side > 0 else high

    def moved(distance: float) -> PyTree:
        at = bound * np.exp(distance) if held else bound + side * distance
        return _replaced(model, params, what, at)

    def objective(there: PyTree) -> float:
        return float(model.log_likelihood(there, data, weights)) + float(model.log_prior(there))

    top = objective(params)
    far = _distance(lambda d: 2 * (top - objective(moved(d))), level**2, 0.5 if what.scale == "logit" else np.inf)
    if far is None:
        return None
    there = params if held else moved(far)
    found = matrices(model, there, data, weights=weights)
    there = found.params
    at, jacobian = derivatives(model, there, what.fn)
    jacobian = np.asarray(jacobian, float)
    if not np.any(jacobian) or not low < float(at) < high:
        return None
    scale = scale_of(what.scale)
    centre = float(scale.there(np.asarray(float(at))))
    unit = far / level if held else 1.0
    root = complete_root(np.asarray(found.complete, float), float(jnp.finfo(found.observed.dtype).eps))
    spread = (jacobian @ root)[0] * float(scale.slope(np.asarray(float(at)))) / unit
    if not np.any(spread):
        return None
    tangent, end = spread / np.sum(spread**2), 0.0 if held else side * _BESIDE
    fit = Point(end, 0.0, 0.0, objective(there) - top, end * tangent, True, True, 0, params)
    return Inside(there, root, tangent, centre, unit, side, bound, fit)


def _distance(deviance: Callable[[float], float], goal: float, most: float) -> float | None:
    """How far from the bound the deviance is about the goal, with all else as it is."""
    short, far, times = 0.0, min(_FIRST, most), 0
    while not deviance(far) >= goal and far < most and times < _TIMES:
        short, far, times = far, min(far * _FACTOR, most), times + 1
    if not deviance(far) >= goal:
        return far if far == most and np.isfinite(deviance(far)) else None
    while short == 0.0:
        if times == _TIMES:
            return None
        nearer, times = far / _FACTOR, times + 1
        short, far = (nearer, far) if deviance(nearer) < goal else (0.0, nearer)
    for _ in range(_HALVINGS):
        middle = np.sqrt(short * far)
        short, far = (middle, far) if deviance(middle) < goal else (short, middle)
    return short


def _replaced(model: Any, params: PyTree, what: Scalar, value: float) -> PyTree:
    """The parameters with another value of the entry; the others of a distribution make room for it."""
    assert what.entry is not None
    name, index = what.entry
    leaves, structure = jax.tree.flatten(params)
    number = [own for own, _ in leaves_of(params)].index(name)
    leaf = np.array(leaves[number], float)
    if model.domains.get(name) == "simplex":
        row, at = leaf[index[:-1]], index[-1]
        rest = 1 - row[at]
        others = row * (1 - value) / rest if rest > 0 else np.full(row.shape, (1 - value) / (row.size - 1))
        leaf[index[:-1]] = np.where(np.arange(row.size) == at, value, others)
    else:
        leaf[index] = value
    leaves[number] = jnp.asarray(leaf, jnp.result_type(leaves[number]))
    return jax.tree.unflatten(structure, leaves)
