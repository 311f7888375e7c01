"""The models that the command line offers: one entry each in `KINDS`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxem.cli import _panels as panels

COVARIANCES = ("full", "diagonal", "spherical", "tied")


class Kind(NamedTuple):
    """What the command line has to know of a model; nothing here imports JAX before it is called.

    - `title`: how it is spoken of.
    - `options(covariance, x)`: keyword arguments of `build`, as JSON can hold them.
    - `build(num_components, **options)`: the model.
    - `layout()`: its parameters with `None` in the place of each array.
    - `describe(params, options, shift, scale)`: what a cell of the report holds, and the cells by component and column.
    - `panel`: what draws it, and at which size; see `jaxem.cli._panels`.
    - `continuous`: whether its columns can be shifted and scaled.
    """

    title: str
    options: Callable[[str, np.ndarray], dict[str, Any]]
    build: Callable[..., Any]
    layout: Callable[[], Any]
    describe: Callable[[Any, dict[str, Any], Any, Any], tuple[str, list[list[str]]]]
    panel: Callable[..., panels.Panel]
    continuous: bool = False


def _build_gaussian(num_components: int, covariance: str):
    import jaxem

    return jaxem.GaussianMixture(num_components, covariance)


def _layout(params: str, *fields: str) -> Callable[[], Any]:
    def layout():
        import jaxem

        return jaxem.MixtureParams(None, getattr(jaxem, params)(*[None for _ in fields]))  # pyright: ignore

    return layout


def _mixture(family: str) -> Callable[..., Any]:
    def build(num_components: int, **options):
        import jaxem

        return jaxem.Mixture(getattr(jaxem, family)(**options), num_components)

    return build


def _no_options(covariance: str, x: np.ndarray) -> dict[str, Any]:
    return {}


def _describe_gaussian(params, options, shift, scale):
    components = panels.components_of(params, options, shift, scale)
    pairs = zip(components.means, components.standard_deviations, strict=True)
    return "mean ± sd", [[f"{m:.4g} ± {s:.3g}" for m, s in zip(*pair, strict=True)] for pair in pairs]


def _describe(name: str, field: str):
    def describe(params, options, shift, scale):
        values = np.asarray(getattr(params.components, field))
        if values.ndim == 2:
            return name, [[f"{value:.4g}" for value in row] for row in values]
        return name, [["/".join(f"{p:.2g}" for p in cell) for cell in row] for row in values]

    return describe


KINDS: dict[str, Kind] = {
    "gaussian-mixture": Kind(
        title="Gaussian mixture",
        options=lambda covariance, x: {"covariance": covariance},
        build=_build_gaussian,
        layout=_layout("GaussianParams", "mean", "covariance"),
        describe=_describe_gaussian,
        panel=panels.gaussian,
        continuous=True,
    ),
    "poisson-mixture": Kind(
        title="Poisson mixture",
        options=_no_options,
        build=_mixture("Poisson"),
        layout=_layout("PoissonParams", "rate"),
        describe=_describe("rate", "rate"),
        panel=panels.poisson,
    ),
    "bernoulli-mixture": Kind(
        title="Bernoulli mixture",
        options=_no_options,
        build=_mixture("Bernoulli"),
        layout=_layout("BernoulliParams", "probability"),
        describe=_describe("probability of 1", "probability"),
        panel=panels.bernoulli,
    ),
    "categorical-mixture": Kind(
        title="Categorical mixture",
        options=lambda covariance, x: {"num_categories": int(max(x.max(), 0)) + 1},
        build=_mixture("Categorical"),
        layout=_layout("CategoricalParams", "probabilities"),
        describe=_describe("probabilities of 0/1/...", "probabilities"),
        panel=panels.categorical,
    ),
}
