"""The scales on which intervals of parameters are made."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree
from scipy import special

from jaxem.information._names import leaves_of, split_like


class Scale(NamedTuple):
    """A function of a number, its inverse, and its derivative."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


_SCALES = {
    "identity": Scale(lambda x: x, lambda u: u, np.ones_like),
    "log": Scale(np.log, np.exp, lambda x: 1 / x),
    "logit": Scale(special.logit, special.expit, lambda x: 1 / (x * (1 - x))),
}
_ON_BOUND = 1e-6  # times one less of it: a probability that is 0 or 1 but for rounding
_DOMAINS = {"positive": "log", "nonnegative": "log", "unit": "logit", "simplex": "logit"}


def scale_of(name: str) -> Scale:
    """The scale with this name."""
    return _SCALES[name]


def intervals(model: Any, params: PyTree, errors: np.ndarray, wide: float) -> tuple[np.ndarray, np.ndarray, dict]:
    """Bounds `wide` standard errors from the parameters, each on its scale, and the names of these by the parameters'.

    What has no standard error has no bounds, and what is known has bounds at itself.
    """
    lower, upper, names = [], [], scale_names(model, params)
    for (name, values), error in zip(leaves_of(params), split_like(params, errors), strict=True):
        diagonal = names[name] == "log diagonal"
        low, high = _bounds(values, error, wide, "identity" if diagonal else names[name])
        if diagonal:
            inside = np.eye(values.shape[-1], dtype=bool)
            of_variances = _bounds(np.where(inside, values, 1), error, wide, "log")
            low, high = (np.where(inside, a, b) for a, b in zip(of_variances, (low, high), strict=True))
        lower.append(np.ravel(low))
        upper.append(np.ravel(high))
    return np.concatenate(lower or [[]]), np.concatenate(upper or [[]]), names


def scale_names(model: Any, params: PyTree) -> dict[str, str]:
    """The scale of each parameter, by its name."""
    domains = {name: model.domains.get(name, "real") for name, _ in leaves_of(params)}
    return {n: "log diagonal" if of == "definite" else _DOMAINS.get(of, "identity") for n, of in domains.items()}


def reflected(values: np.ndarray, other: np.ndarray, name: str) -> np.ndarray:
    """As far from `values` as `other` on the other side, on the scale with this name.

    A probability on its bound has no odds that say anything: it is reflected as it is.
    """
    if name == "log diagonal":
        inside = np.eye(values.shape[-1], dtype=bool)
        of_variances = reflected(np.where(inside, values, 1), np.where(inside, other, 1), "log")
        return np.where(inside, of_variances, 2 * values - other)
    scale = _SCALES[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(values == other, values, scale.back(2 * scale.there(values) - scale.there(other)))
    if name != "logit":
        return found
    return np.where(values * (1 - values) < _ON_BOUND, np.clip(2 * values - other, 0, 1), found)


def _bounds(values: np.ndarray, errors: np.ndarray, wide: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    values, scale = np.asarray(values, float), _SCALES[name]
    there = errors > 0
    inner = np.where(there, values, 0.5)
    centre, spread = scale.there(inner), np.where(there, wide * errors * scale.slope(inner), np.nan)
    known = errors == 0
    return tuple(np.where(known, values, scale.back(centre + sign * spread)) for sign in (-1, 1))  # pyright: ignore
