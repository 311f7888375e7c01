"""Mixtures: rows are independent, and each comes from one component."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxem.cli._view import View
from jaxem.cli.kinds import _panels as panels
from jaxem.cli.kinds._kind import (
    Kind,
    by_means,
    declare,
    describe_field,
    describe_gaussians,
    incomplete,
    means_and_deviations,
    named,
    numbered,
    of_covariance,
    of_family,
    with_covariances,
)


def _mixture(family: str) -> Callable[..., Any]:
    """Of a family whose columns are independent given the component."""
    return of_family("Mixture", family, "IncompleteColumns")


def _of_components(components: Any) -> Any:
    return declare("models.MixtureParams", weights="simplex k", components=components)


def _layout(params: str, **fields: str) -> Callable[[dict[str, Any]], Any]:
    return lambda options: _of_components(declare(f"families.{params}", **fields))


def _gaussian_layout(params: str, **fields: str) -> Callable[[dict[str, Any]], Any]:
    return lambda options: _of_components(with_covariances(params, options, **fields))


def _categorical_layout(options: dict[str, Any]) -> Any:
    most = int(np.max(options["num_categories"]))  # one number for all columns, or one for each
    return _layout("CategoricalParams", probabilities=f"simplex k d {most}")(options)


def _describe_student(view: View) -> tuple[str, dict[str, list[str]]]:
    heading, rows = describe_gaussians(view)
    dof = np.broadcast_to(np.asarray(view.members.degrees_of_freedom, float), len(rows))
    titles = [f"{j} (dof {nu:.3g})" for j, nu in enumerate(dof)]
    return heading.replace("sd", "scale"), dict(zip(titles, rows.values(), strict=True))


def _describe_negative_binomial(view: View) -> tuple[str, dict[str, list[str]]]:
    mean, theta = np.asarray(view.members.mean, float), np.asarray(view.members.theta, float)
    return means_and_deviations(mean, np.sqrt(mean + mean**2 / theta))


def _levels(x: np.ndarray) -> list[int]:
    """How many categories each column has."""
    return [1 + int(largest) for largest in np.max(x, 0, initial=0, where=~np.isnan(x))]


def _describe_categorical(view: View) -> tuple[str, dict[str, list[str]]]:
    p, levels = np.asarray(view.members.probabilities, float), view.options["num_categories"]
    cells = [
        ["/".join(f"{value:.2f}" for value in column[:own]) for column, own in zip(row, levels, strict=True)]
        for row in p
    ]
    return "probabilities of 0/1/...", numbered(cells)


MIXTURES = {
    "gaussian-mixture": Kind(
        title="Gaussian mixture",
        options=of_covariance,
        build=named("GaussianMixture"),
        layout=_gaussian_layout("GaussianParams"),
        describe=describe_gaussians,
        panel=panels.gaussian,
        continuous=True,
        missing=incomplete,
        fill=by_means,
    ),
    "student-t-mixture": Kind(
        title="Student t mixture",
        options=of_covariance,
        build=named("StudentTMixture"),
        layout=_gaussian_layout("StudentTParams", degrees_of_freedom="positive k"),
        describe=_describe_student,
        panel=panels.gaussian,
        continuous=True,
    ),
    "poisson-mixture": Kind(
        title="Poisson mixture",
        build=_mixture("Poisson"),
        layout=_layout("PoissonParams", rate="nonnegative k d"),
        describe=describe_field("rate", "rate", "{:.4g}"),
        panel=panels.poisson,
        missing=incomplete,
    ),
    "negative-binomial-mixture": Kind(
        title="Negative binomial mixture",
        build=_mixture("NegativeBinomial"),
        layout=_layout("NegativeBinomialParams", mean="nonnegative k d", theta="positive k d"),
        describe=_describe_negative_binomial,
        panel=panels.negative_binomial,
    ),
    "bernoulli-mixture": Kind(
        title="Bernoulli mixture",
        build=_mixture("Bernoulli"),
        layout=_layout("BernoulliParams", probability="unit k d"),
        describe=describe_field("probability", "probability of 1", "{:.3f}"),
        panel=panels.bernoulli,
        missing=incomplete,
    ),
    "categorical-mixture": Kind(
        title="Categorical mixture",
        options=lambda covariance, x: {"num_categories": _levels(x)},
        build=_mixture("Categorical"),
        layout=_categorical_layout,
        describe=_describe_categorical,
        panel=panels.categorical,
        missing=incomplete,
    ),
}
