"""The picture of a choice among models."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxem
from jaxem import plot
from jaxem._titles import kind_of, sizes_in, title_of
from jaxem.selection import Selection


def row(model, criterion, status="converged", **more):
    return {"model": model, "criterion": criterion, "status": status, "num_parameters": 1, **more}


MODELS = tuple(jaxem.GaussianMixture(k, shape) for shape in ("full", "tied") for k in (1, 2, 3))
CHOICE = Selection(
    MODELS,
    (None,) * 6,
    (
        row(0, 30.0),
        row(1, 20.0),
        row(2, 18.0, "degenerate_component"),
        row(3, 31.0),
        row(4, None, "all 2 starts failed"),
        row(5, 19.0),
    ),
    5,
    "bic",
)


def drawn(selection, **options) -> Any:
    ax: Any = plot.selection(Figure().subplots(), selection, **options)
    ax.figure.canvas.draw()
    return ax


def test_a_line_for_each_kind_and_a_ring_for_the_choice():
    ax = drawn(CHOICE)
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [line.get_xydata().tolist() for line in lines] == [[[1, 30], [2, 20], [3, 18]], [[1, 31], [3, 19]]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [kind_of(MODELS[0]), kind_of(MODELS[3])]
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in hollow] == [[[3, 18]]]
    ring = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [line.get_xydata().tolist() for line in ring] == [[[3, 19]]]
    assert ax.get_title(loc="left") == "BIC (smaller is better); 1 of 6 models have none"
    assert ax.get_xlabel() == "components"


def test_cross_validation_has_bars_and_points_up():
    rows = tuple(
        row(i, -value, cv=value, cv_standard_error=error, failed_folds=failed)
        for i, (value, error, failed) in enumerate([(-4.0, 0.5, {}), (-3.0, 0.25, {}), (-3.5, 0.25, {1: "not_finite"})])
    )
    ax = drawn(Selection(MODELS[:3], (None,) * 3, rows, 1, "cv", np.arange(3)))
    ((_, _, bars),) = [container.lines for container in ax.containers]
    assert [segment[:, 1].tolist() for segment in bars[0].get_segments()] == [
        [-4.5, -3.5],
        [-3.25, -2.75],
        [-3.75, -3.25],
    ]
    assert "larger is better" in ax.get_title(loc="left")
    assert ax.get_legend() is None


def test_names_of_ones_own_and_of_models_alike():
    ax = drawn(CHOICE, names=["$a"] * 3 + ["b"] * 3)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"\$a", "b"]
    twice = Selection((MODELS[0], MODELS[0]), (None,) * 2, (row(0, 1.0), row(1, 2.0)), 0, "bic")
    assert [text.get_text() for text in drawn(twice).get_legend().get_texts()][1].endswith("#2")


@pytest.mark.parametrize(
    ("model", "title", "sizes"),
    [
        (jaxem.HMM(jaxem.Poisson(), 1), "HMM with Poisson, 1 state", {"state": 1}),
        (jaxem.LDA(4, 9), "LDA, 4 topics", {"topic": 4}),
        (jaxem.MixtureOfFactorAnalyzers(3, 2), None, {"component": 3, "factor": 2}),
        (jaxem.models.MultivariateNormal(missing=True), "Single Incomplete Gaussian (full)", {}),
    ],
)
def test_a_model_in_a_few_words(model, title, sizes):
    assert sizes_in(model) == sizes
    if title is not None:
        assert title_of(model) == title
