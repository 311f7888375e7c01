"""The left part of `fit.png`, for each kind of model: a function that fills it, and its size in inches."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxem.plot import Gaussians

Panel = tuple[Callable[[Any], Any], float]


def components_of(params: Any, options: dict[str, Any], shift: Any, scale: Any) -> "Gaussians":
    """Gaussian components in the units of the data, with full covariances."""
    from jaxem.plot import gaussians

    return gaussians(params, options["covariance"], shift=shift, scale=scale)


def gaussian(x: np.ndarray, columns: Sequence[str], labels: np.ndarray, params, options, shift, scale) -> Panel:
    from jaxem.plot import gaussian_panel

    return gaussian_panel(x, components_of(params, options, shift, scale), labels=labels, columns=columns)


def poisson(x: np.ndarray, columns: Sequence[str], labels: np.ndarray, params, options, shift, scale) -> Panel:
    from jaxem.plot import counts

    rate = np.asarray(params.components.rate, float)
    weights = np.asarray(params.weights, float)
    if x.shape[1] == 1:
        return (lambda left: counts(left.subplots(), x[:, 0], weights, rate[:, 0], column=columns[0])), 5.0
    return _profiles(rate, weights, columns, "rate")


def bernoulli(x: np.ndarray, columns: Sequence[str], labels: np.ndarray, params, options, shift, scale) -> Panel:
    return _profiles(params.components.probability, params.weights, columns, "probability of 1")


def categorical(x: np.ndarray, columns: Sequence[str], labels: np.ndarray, params, options, shift, scale) -> Panel:
    probabilities = np.asarray(params.components.probabilities)
    k, d, c = probabilities.shape
    names = [f"{column}={level}" for column in columns for level in range(c)]
    return _profiles(probabilities.reshape(k, d * c), params.weights, names, "probability")


def _profiles(values: Any, weights: Any, columns: Sequence[str], name: str) -> Panel:
    from jaxem.plot import profiles

    values, weights = np.asarray(values, float), np.asarray(weights, float)
    return (lambda left: profiles(left.subplots(), values, weights, columns=columns, name=name)), 5.6
