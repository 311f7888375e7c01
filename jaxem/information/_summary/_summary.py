"""`summary`: a fit as a table to read, with standard errors, intervals and what there is to say of the rest."""

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._arguments import require_kind
from jaxem._errors import DataError, FitError, MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._titles import title_of
from jaxem._traced import require_concrete
from jaxem.engine.convert import as_data
from jaxem.engine.shapes import require_structure
from jaxem.information._information import Information
from jaxem.information._summary._axes import Parameters, described, require_one_fit
from jaxem.information._summary._blocks import Block, blocks_of
from jaxem.information._summary._entries import Measured, entries_of, measured
from jaxem.information._summary._facts import Facts, facts_of
from jaxem.information._summary._frames import to_dataframe, to_datatree
from jaxem.information._summary._render import as_html, as_text
from jaxem.information._summary._sizes import sizes_of
from jaxem.information.observed import observed
from jaxem.models.joined import AbstractJoined

if TYPE_CHECKING:
    import pandas

_MOST = 8192  # parameters whose information matrix is made without being asked for: half a gigabyte


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `summary` returns. `str(summary)` is the table; a notebook shows it as HTML.

    **Attributes:**

    - `facts`: a dictionary of what is said of the whole: `model`, `num_rows`, `num_observations`, `total_weight`,
        `status` and its `message`, `num_steps`, `num_starts`, `log_likelihood` (`is_bound` where that is a lower
        bound), `objective`, `num_parameters`, `aic`, `bic`, `icl` (`None` without discrete latents).
    - `table`: a tuple of dictionaries, one for each parameter: `member` (`None` for what all have in common),
        `parameter`, `column`, `estimate`, `standard_error`, `lower`, `upper` (`None` where there are none) and `note`:
        `"fixed"`, `"not determined"` by the data, or `"at a bound"`. With a bootstrap its numbers besides.
    - `sizes`: the expected number of observations of each member, the largest first: a dictionary, empty for models
        without members.
    - `level`: the probability of the intervals.
    - `why`: why there are no standard errors, or how they were found.
    """

    facts: dict[str, Any]
    table: tuple[dict[str, Any], ...]
    sizes: dict[Any, float]
    level: float
    why: str
    word: str
    measured: tuple[Measured, ...] = dataclasses.field(repr=False)
    unit: str = "row"

    @property
    def _blocks(self) -> list[Block]:
        return blocks_of(self)

    def __str__(self) -> str:
        return as_text(self._blocks)

    def __repr__(self) -> str:
        return f"Summary({self.facts['model']}, {len(self.table)} estimates)"

    def _repr_html_(self) -> str:
        return as_html(self._blocks)

    def to_dataframe(self) -> "pandas.DataFrame":
        """`table` as a pandas data frame, a row for each parameter.

        **Raises:** `ModuleNotFoundError` without pandas.
        """
        return to_dataframe(self.table)

    def to_datatree(self) -> Any:
        """The numbers as arrays with named axes, in an `xarray.DataTree` of the groups `estimate`, `standard_error`,
        `lower`, `upper` (data sets with a variable for each parameter), those of a bootstrap, and `sizes`.

        The root has `facts` as attributes. Axes are those of members (`component`, `state`, `expert`, `topic`) and
        `column`, `covariate`, `factor`, `category` and so on, with their labels as coordinates; a second axis of a kind
        is `column_2`. What has no standard error is NaN.

        **Raises:** `ModuleNotFoundError` without xarray.
        """
        return to_datatree(self)


def summary(
    model: AbstractModel,
    fit: Any,
    data: Any,
    columns: Any = None,
    standard_errors: bool | Information = True,
    weights: Any = None,
    level: float = 0.95,
    bootstrap: Any = None,
) -> Summary:
    """A fit as a table to read: how it ended, criteria, and for each member estimates with errors and intervals.

    Members come by size, the largest first, under the numbers that they have in the parameters. A covariance is said
    once. What the data do not determine and what lies on a bound has a note in the place of a standard error.

    **Arguments:**

    - `model`, `fit`: a model, and what `jaxem.fit`, `jaxem.solve` or `jaxem.fit_stream` returned for it.
    - `data`, `weights`: what it was fitted to.
    - `columns`: names of the columns (of the covariates, for regressions; of the words, for topics), or a dictionary of
        names by axis, such as `{"column": ["height", "weight"], "component": ["short", "tall"]}`. By default those of
        data frames, else `x0`, `x1` and so on.
    - `standard_errors`: whether there are any: those of `jaxem.information.observed`. Or what that returned, for
        another method. Where they cannot be had the table does without, and says why.
    - `level`: the probability with which intervals hold.
    - `bootstrap`: what `jaxem.bootstrap` returned: its standard errors and percentile intervals stand beside the
        others, as `bootstrap_error`, `bootstrap_lower` and `bootstrap_upper` of the table.

    **Returns:** a `jaxem.information.Summary`: `str`, HTML in notebooks, `.table`, `.to_dataframe()`, `.to_datatree()`.

    **Raises:** `DataError` for data and arguments that cannot be used.

    **Example**

    >>> import jax, jaxem
    >>> geyser = jaxem.datasets.old_faithful()
    >>> x, model = geyser.data.astype("float32"), jaxem.GaussianMixture(2)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4, tol=1e-6)
    >>> summary = jaxem.summary(model, fit, x, columns=geyser.columns)
    >>> [round(size) for size in summary.sizes.values()]
    [175, 97]
    >>> print(str(summary).partition(chr(10))[0])
    Mixture of Gaussian (full), 2 components
    """
    require_concrete("jaxem.summary", "jaxem.information.observed", data=data, weights=weights)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_one_fit(fit)
    converted = as_data(data)
    parameters = described(model, fit.params, data, _width(model, converted), columns)
    info, why = _information(model, fit, data, weights, standard_errors)
    found = measured(model, fit.params, parameters, info, level, _of_this_fit(bootstrap, fit))
    sizes = _sizes(model, fit.params, converted, weights, parameters)
    facts: Facts = facts_of(model, fit, converted, weights)
    return Summary(
        {"model": title_of(model), **facts.values},
        tuple(entry.as_dict() for entry in entries_of(found, [*sizes] or [*parameters.members])),
        sizes,
        float(level),
        why,
        parameters.word,
        found,
        facts.unit,
    )


def _of_this_fit(bootstrap: Any, fit: Any) -> Any:
    """A bootstrap, if it is one of these parameters."""
    if bootstrap is None:
        return None
    if not all(hasattr(bootstrap, name) for name in ("estimate", "standard_errors", "interval")):
        raise DataError(f"bootstrap must be what jaxem.bootstrap returned, got a {type(bootstrap).__name__}")
    require_structure(bootstrap.estimate, fit.params, "bootstrap")
    pairs = zip(jax.tree.leaves(bootstrap.estimate), jax.tree.leaves(fit.params), strict=True)
    if not all(np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-3) for one, other in pairs):
        raise DataError("bootstrap is of another fit: pass the parameters of this one to jaxem.bootstrap")
    return bootstrap


def _information(model: Any, fit: Any, data: Any, weights: Any, wanted: Any) -> tuple[Information | None, str]:
    """The information, if it is wanted and can be had, and how it was found or why there is none."""
    if isinstance(wanted, Information):
        return wanted, f"from the information by method {wanted.method!r}"
    if not isinstance(wanted, bool | np.bool_):
        raise DataError(f"standard_errors must be True, False or a jaxem.information.Information, got {wanted!r}")
    if not wanted:
        return None, "not asked for"
    size = int(model.num_parameters(fit.params))
    if size > _MOST:
        advice = "pass standard_errors=jaxem.information.observed(...) to have them"
        return None, f"the matrix of {size} parameters takes {8 * size**2 / 2**30:.0f} GiB; {advice}"
    if fit.posterior is not None:
        return None, "the parameters are means of a posterior, which says how sure they are: fit.posterior"
    try:
        info = observed(model, fit.params, data, weights=weights)
        info.standard_errors  # noqa: B018  worked out here, so that what it raises is caught
    except (FitError, MissingCapabilityError) as error:
        return None, str(error)
    return info, "from the observed information"


def _sizes(model: Any, params: PyTree, data: PyTree, weights: Any, parameters: Parameters) -> dict[Any, float]:
    """Expected numbers of observations by the members' labels, the largest first."""
    found = sizes_of(model, params, data, weights)
    if found is None or len(found) != len(parameters.members):
        return {}
    return {parameters.members[i]: float(found[i]) for i in np.argsort(-found, kind="stable")}


def _width(model: Any, data: PyTree) -> int | None:
    """How many columns the rows have, if they are tables."""
    rows: Any = data
    if isinstance(model, AbstractJoined):
        rows = eqx.filter_eval_shape(model.rows, data)
    leaf = jax.tree.leaves(rows)[0]
    return leaf.shape[1] if len(leaf.shape) == 2 else None
