"""What the command line has to know of a model; nothing here imports JAX before it is called."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxem.cli._view import View
from jaxem.cli.kinds._panels import Panel

_ROWS = 65_536


class Assignment(NamedTuple):
    """What a fit says of every row: a table of `values` `[n, m]` with these `names`, and the number of its component.

    `labels` `[n]` and the shares `weights` `[k]` of the components are empty where rows have none.
    """

    values: np.ndarray
    names: list[str]
    labels: np.ndarray = np.zeros(0, int)
    weights: np.ndarray = np.zeros(0)


def by_responsibilities(model: Any, params: Any, x: np.ndarray) -> Assignment:
    """Responsibilities, some rows at a time."""
    found = [np.asarray(model.posterior(params, x[i : i + _ROWS])) for i in range(0, len(x), _ROWS)]
    values = np.concatenate(found)
    names = [f"responsibility_{j}" for j in range(values.shape[1])]
    return Assignment(values, names, values.argmax(1), np.asarray(params.weights, float))


def drawn_rows(model: Any, params: Any, key: Any, n: int) -> tuple[Any, Any]:
    """`n` rows, and their components."""
    return model.sample(key, params, n)


def as_it_is(x: np.ndarray) -> Any:
    """The `data` of a kind whose model takes a table `[n, d]`."""
    return x


def incomplete(x: np.ndarray) -> dict[str, Any]:
    """The `missing` of a kind that has a family for tables with empty cells, and another for those without."""
    return {"missing": True} if np.isnan(x).any() else {}


def with_gaps(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """The `fill` of a kind whose picture can do without the empty cells: they stay NaN."""
    return x


def by_means(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """The `fill` of a kind whose picture needs a number in every cell: posterior means in the empty ones."""
    return np.asarray(model.impute(params, x)) if np.isnan(x).any() else x


class Derived(NamedTuple):
    """What has standard errors beside the parameters: a function of these, on a scale where it is closer to normal.

    `back` leads from that scale to what is shown, and `slope` is its derivative there, as a function of what is shown.
    """

    scaled: Callable[[Any], Any]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


class Kind(NamedTuple):
    """A model as the command line sees it.

    - `title`: how it is spoken of; `unit`: one of the things that `--components` counts.
    - `options(covariance, x)`: keyword arguments of `build`, as JSON can hold them.
    - `build(num_components, **options)`: the model.
    - `layout(options)`: its parameters with a declaration in the place of each array, which is checked when a fit is
        read: where it lies (`real`, `nonnegative`, `positive`, `unit`: in [0, 1], `simplex`: sums to 1 over the last
        axis, `definite`) and its axes, each a number or `k` (components) or `d` (columns), such as `"simplex k k"`.
    - `describe(view)`: what a cell of the report holds, and the rows of cells by title, one cell for each column.
    - `panel(view)`: what draws it, and at which size.
    - `continuous`: whether its columns can be shifted and scaled.
    - `missing(x)`: options of `build` for the model to take the empty cells (NaN) of `x`; `None` if it cannot.
    - `fill(model, params, x)`: the table as the picture shows it, where cells are empty.
    - `most(num_columns)`: the largest number of components that makes sense, if there is one.
    - `data(x)`: a table as the model takes it.
    - `assign(model, params, x)`: what a fit says of every row.
    - `sample(model, params, key, n)`: `n` rows and their components (or `()`).
    - `derived`: what standard errors are told of besides, by name: `[d, ...]`.
    """

    title: str
    build: Callable[..., Any]
    layout: Callable[[dict[str, Any]], Any]
    describe: Callable[[View], tuple[str, dict[str, list[str]]]]
    panel: Callable[[View], Panel]
    options: Callable[[str, np.ndarray], dict[str, Any]] = lambda covariance, x: {}
    continuous: bool = False
    missing: Callable[[np.ndarray], dict[str, Any]] | None = None
    fill: Callable[[Any, Any, np.ndarray], np.ndarray] = with_gaps
    unit: str = "component"
    most: Callable[[int], int] | None = None
    data: Callable[[np.ndarray], Any] = as_it_is
    assign: Callable[[Any, Any, np.ndarray], Assignment] = by_responsibilities
    sample: Callable[[Any, Any, Any, int], tuple[Any, Any]] = drawn_rows
    derived: Mapping[str, Derived] = MappingProxyType({})

    def options_for(self, x: np.ndarray, options: dict[str, Any]) -> dict[str, Any]:
        """`options` of a model of the same parameters that takes the empty cells of `x` as well."""
        return options if self.missing is None else {**options, **self.missing(x)}


# What a `layout` declares of covariances, by their structure.
COVARIANCE = {
    "full": "definite k d d",
    "diagonal": "positive k d",
    "spherical": "positive k",
    "tied": "definite d d",
    "VEV": "definite k d d",
}


def declare(name: str, **fields: Any) -> Any:
    """Parameters, such as `"models.HMMParams"`, with a declaration in each of their `fields`."""
    import jaxem

    return attrgetter(name)(jaxem)(**fields)


def of_covariance(covariance: str, x: np.ndarray) -> dict[str, Any]:
    """The `options` of a model whose components have covariances."""
    return {"covariance": covariance}


def with_covariances(params: str, options: dict[str, Any], **fields: str) -> Any:
    """The declaration of the parameters of components with means and covariances, such as `"GaussianParams"`."""
    return declare(f"families.{params}", mean="real k d", covariance=COVARIANCE[options["covariance"]], **fields)


def named(name: str) -> Callable[..., Any]:
    """The `build` of a model that has a name at the top of `jaxem`."""

    def build(num_components: int, **options: Any) -> Any:
        import jaxem

        return getattr(jaxem, name)(num_components, **options)

    return build


def of_family(name: str, family: str, wrapper: str) -> Callable[..., Any]:
    """The `build` of such a model of a family, within a `wrapper` where cells are missing."""

    def build(num_components: int, missing: bool = False, **options: Any) -> Any:
        import jaxem

        members = getattr(jaxem.families, family)(**options)
        return getattr(jaxem, name)(getattr(jaxem.families, wrapper)(members) if missing else members, num_components)

    return build


def numbered(cells: list[list[str]]) -> dict[str, list[str]]:
    """Rows of cells under the numbers of their components."""
    return {str(j): row for j, row in enumerate(cells)}


def means_and_deviations(means: np.ndarray, deviations: np.ndarray) -> tuple[str, dict[str, list[str]]]:
    """What a `describe` returns of means and standard deviations, both `[k, d]`."""
    rows = zip(means, deviations, strict=True)
    cells = [[f"{mean:.4g} ± {deviation:.3g}" for mean, deviation in zip(*row, strict=True)] for row in rows]
    return "mean ± sd", numbered(cells)


def describe_gaussians(view: View) -> tuple[str, dict[str, list[str]]]:
    """The `describe` of Gaussian components: mean and standard deviation of each column, in the units of the data."""
    components = view.gaussians()
    return means_and_deviations(components.means, components.standard_deviations)


def describe_field(field: str, name: str, style: str) -> Callable[[View], tuple[str, dict[str, list[str]]]]:
    """A `describe` of one parameter of the components, under the heading `name`.

    A cell is a number in `style` where `field` is `[k, d]`, and several with slashes between where it is `[k, d, c]`.
    """

    def describe(view: View) -> tuple[str, dict[str, list[str]]]:
        values = np.asarray(getattr(view.members, field))
        if values.ndim == 2:
            return name, numbered([[style.format(value) for value in row] for row in values])
        return name, numbered([["/".join(style.format(p) for p in cell) for cell in row] for row in values])

    return describe
