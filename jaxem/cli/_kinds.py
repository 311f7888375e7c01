"""The models that the command line offers: one entry each in `KINDS`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxem.cli import _panels as panels
from jaxem.cli._view import View

COVARIANCES = ("full", "diagonal", "spherical", "tied")


class Kind(NamedTuple):
    """What the command line has to know of a model; nothing here imports JAX before it is called.

    - `title`: how it is spoken of.
    - `options(covariance, x)`: keyword arguments of `build`, as JSON can hold them.
    - `build(num_components, **options)`: the model.
    - `layout()`: its parameters with `None` in the place of each array.
    - `describe(view)`: what a cell of the report holds, and the cells by component and column.
    - `panel(view)`: what draws it, and at which size; see `jaxem.cli._panels`.
    - `continuous`: whether its columns can be shifted and scaled.
    """

    title: str
    options: Callable[[str, np.ndarray], dict[str, Any]]
    build: Callable[..., Any]
    layout: Callable[[], Any]
    describe: Callable[[View], tuple[str, list[list[str]]]]
    panel: Callable[[View], panels.Panel]
    continuous: bool = False


def _gaussian_mixture(num_components: int, covariance: str) -> Any:
    import jaxem

    return jaxem.GaussianMixture(num_components, covariance)


def _mixture(family: str) -> Callable[..., Any]:
    def build(num_components: int, **options: Any) -> Any:
        import jaxem

        return jaxem.Mixture(getattr(jaxem, family)(**options), num_components)

    return build


def _layout(params: str, *fields: str) -> Callable[[], Any]:
    def layout() -> Any:
        import jaxem

        blank: Any = None
        return jaxem.MixtureParams(blank, getattr(jaxem, params)(**dict.fromkeys(fields)))

    return layout


def _describe_gaussian(view: View) -> tuple[str, list[list[str]]]:
    components = view.gaussians()
    rows = zip(components.means, components.standard_deviations, strict=True)
    return "mean ± sd", [[f"{mean:.4g} ± {sd:.3g}" for mean, sd in zip(*row, strict=True)] for row in rows]


def _describe(field: str, name: str, style: str) -> Callable[[View], tuple[str, list[list[str]]]]:
    def describe(view: View) -> tuple[str, list[list[str]]]:
        values = np.asarray(getattr(view.params.components, field))
        if values.ndim == 2:
            return name, [[style.format(value) for value in row] for row in values]
        return name, [["/".join(style.format(p) for p in cell) for cell in row] for row in values]

    return describe


KINDS: dict[str, Kind] = {
    "gaussian-mixture": Kind(
        title="Gaussian mixture",
        options=lambda covariance, x: {"covariance": covariance},
        build=_gaussian_mixture,
        layout=_layout("GaussianParams", "mean", "covariance"),
        describe=_describe_gaussian,
        panel=panels.gaussian,
        continuous=True,
    ),
    "poisson-mixture": Kind(
        title="Poisson mixture",
        options=lambda covariance, x: {},
        build=_mixture("Poisson"),
        layout=_layout("PoissonParams", "rate"),
        describe=_describe("rate", "rate", "{:.4g}"),
        panel=panels.poisson,
    ),
    "bernoulli-mixture": Kind(
        title="Bernoulli mixture",
        options=lambda covariance, x: {},
        build=_mixture("Bernoulli"),
        layout=_layout("BernoulliParams", "probability"),
        describe=_describe("probability", "probability of 1", "{:.3f}"),
        panel=panels.bernoulli,
    ),
    "categorical-mixture": Kind(
        title="Categorical mixture",
        options=lambda covariance, x: {"num_categories": max(int(x.max()) + 1, 2)},
        build=_mixture("Categorical"),
        layout=_layout("CategoricalParams", "probabilities"),
        describe=_describe("probabilities", "probabilities of 0/1/...", "{:.2f}"),
        panel=panels.categorical,
    ),
}
