"""The left part of `fit.png`, for each kind of model: a function that fills it, and its size in inches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxem._text import plain
from jaxem.cli._view import View

Panel = tuple[Callable[[Any], Any], float]


def gaussian(view: View) -> Panel:
    """Histogram, scatter or pairs of columns, with the densities of Gaussian (or Student t) components."""
    from jaxem.plot import gaussian_panel

    return gaussian_panel(view.x, view.gaussians(), labels=view.labels, columns=view.columns)


def poisson(view: View) -> Panel:
    """Rates `[k, d]` as shaded cells; of a single column the relative frequency of counts."""
    return _counts(view, np.asarray(view.members.rate, float), None, "rate", view.bounds_of("rate"))


def negative_binomial(view: View) -> Panel:
    """Means `[k, d]` as shaded cells; of a single column the relative frequency of counts."""
    mean = np.asarray(view.members.mean, float)
    return _counts(
        view, mean, np.broadcast_to(np.asarray(view.members.theta, float), mean.shape), "mean", view.bounds_of("mean")
    )


def _counts(view: View, mean: np.ndarray, theta: np.ndarray | None, name: str, bounds: Any) -> Panel:
    from jaxem.plot import counts

    if view.x.shape[1] > 1:
        return _profiles(view, mean, view.columns, name, bounds)

    def draw(left: Any) -> None:
        seen, spread = view.x[~np.isnan(view.x)], None if theta is None else theta[:, 0]
        bars = None if bounds is None else (bounds[0][:, 0], bounds[1][:, 0])
        counts(left.subplots(), seen, view.weights, mean[:, 0], spread, column=view.columns[0], bounds=bars)

    return draw, 5.0


def bernoulli(view: View) -> Panel:
    """Probabilities `[k, d]` as shaded cells."""
    return _profiles(view, view.members.probability, view.columns, "probability of 1", view.bounds_of("probability"))


def categorical(view: View) -> Panel:
    """Probabilities `[k, d, c]` as shaded cells, the categories of a column side by side."""
    probabilities, levels = np.asarray(view.members.probabilities), view.options["num_categories"]
    columns = zip(view.columns, levels, strict=True)
    names = [f"{plain(column, 24)}={level}" for column, own in columns for level in range(own)]

    def side_by_side(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:, j, :own] for j, own in enumerate(levels)], 1)

    bounds = view.bounds_of("probabilities")
    bounds = None if bounds is None else tuple(map(side_by_side, bounds))
    return _profiles(view, side_by_side(probabilities), names, "probability", bounds)


def _profiles(view: View, values: Any, columns: Sequence[str], name: str, bounds: Any = None) -> Panel:
    from jaxem.plot import profiles

    def draw(left: Any) -> None:
        profiles(left.subplots(), np.asarray(values, float), view.weights, columns=columns, name=name, bounds=bounds)

    return draw, 5.6


def sequence(view: View) -> Panel:
    """The steps of a hidden Markov model with the means `[k, d]` of their states, and the states' probabilities."""
    from jaxem.plot import sequence as draw_sequence

    members = view.members
    field = "rate" if hasattr(members, "rate") else "mean"
    mean = np.asarray(getattr(members, field), float) * view.scale + view.shift
    bounds = view.bounds_of(field, moved=True)

    def draw(left: Any) -> None:
        draw_sequence(left, view.x, view.labels, view.table, mean, columns=view.columns, bounds=bounds)

    return draw, 5.6


def factors(view: View) -> Panel:
    """Correlations of the columns with the factors, `[d, q]`, and what the factors explain of each column."""
    from jaxem.plot import loadings

    loading = np.asarray(view.params.loading, float)
    noise = np.broadcast_to(np.asarray(view.params.noise_variance, float), len(loading))
    explained = (loading**2).sum(1)
    total = explained + noise

    def draw(left: Any) -> None:
        loadings(
            left,
            loading / np.sqrt(total)[:, None],
            explained / total,
            columns=view.columns,
            bounds=view.bounds.get("correlation"),
            communality_bounds=view.bounds.get("communality"),
        )

    return draw, 5.0
