"""The left part of `fit.png`, for each kind of model: a function that fills it, and its size in inches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxem.cli._view import View

Panel = tuple[Callable[[Any], Any], float]


def gaussian(view: View) -> Panel:
    from jaxem.plot import gaussian_panel

    return gaussian_panel(view.x, view.gaussians(), labels=view.labels, columns=view.columns)


def poisson(view: View) -> Panel:
    from jaxem.plot import counts

    rate = np.asarray(view.params.components.rate, float)
    if view.x.shape[1] > 1:
        return _profiles(view, rate, view.columns, "rate")

    def draw(left: Any) -> None:
        counts(left.subplots(), view.x[:, 0], view.weights, rate[:, 0], column=view.columns[0])

    return draw, 5.0


def bernoulli(view: View) -> Panel:
    return _profiles(view, view.params.components.probability, view.columns, "probability of 1")


def categorical(view: View) -> Panel:
    probabilities = np.asarray(view.params.components.probabilities)
    k, d, c = probabilities.shape
    names = [f"{column}={level}" for column in view.columns for level in range(c)]
    return _profiles(view, probabilities.reshape(k, d * c), names, "probability")


def _profiles(view: View, values: Any, columns: Sequence[str], name: str) -> Panel:
    from jaxem.plot import profiles

    def draw(left: Any) -> None:
        profiles(left.subplots(), np.asarray(values, float), view.weights, columns=columns, name=name)

    return draw, 5.6
