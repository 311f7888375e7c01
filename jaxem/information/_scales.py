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
_DOMAINS = {"positive": "log", "nonnegative": "log", "unit": "logit", "simplex": "logit"}


def intervals(model: Any, params: PyTree, errors: np.ndarray, wide: float) -> tuple[np.ndarray, np.ndarray, dict]:
    """Bounds `wide` standard errors from the parameters, each on its scale, and the names of these by the parameters'.

    What has no standard error has no bounds, and what is known has bounds at itself.
    """
    lower, upper, names = [], [], {}
    for (name, values), error in zip(leaves_of(params), split_like(params, errors), strict=True):
        domain = model.domains.get(name, "real")
        names[name] = "log diagonal" if domain == "definite" else _DOMAINS.get(domain, "identity")
        low, high = _bounds(values, error, wide, _DOMAINS.get(domain, "identity"))
        if domain == "definite":
            inside = np.eye(values.shape[-1], dtype=bool)
            of_variances = _bounds(np.where(inside, values, 1), error, wide, "log")
            low, high = (np.where(inside, a, b) for a, b in zip(of_variances, (low, high), strict=True))
        lower.append(np.ravel(low))
        upper.append(np.ravel(high))
    return np.concatenate(lower or [[]]), np.concatenate(upper or [[]]), names


def _bounds(values: np.ndarray, errors: np.ndarray, wide: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    values, scale = np.asarray(values, float), _SCALES[name]
    there = errors > 0
    inner = np.where(there, values, 0.5)
    centre, spread = scale.there(inner), np.where(there, wide * errors * scale.slope(inner), np.nan)
    known = errors == 0
    return tuple(np.where(known, values, scale.back(centre + sign * spread)) for sign in (-1, 1))  # pyright: ignore
