"""`pool`: Rubin's rules over analyses of imputed data."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from jaxem._arguments import as_count, require_level
from jaxem._errors import DataError
from jaxem.engine.shapes import require_structure
from jaxem.information._functions import Estimate, like
from jaxem.information._information import Information
from jaxem.information._pooled import Pooled
from jaxem.information.observed import observed
from jaxem.models._exchange import aligned


def pool(
    estimates: Any,
    covariances: Any = None,
    *,
    level: float = 0.95,
    num_rows: int | None = None,
    model: Any = None,
    data: Any = None,
    weights: Any = None,
) -> Pooled:
    """One analysis from those of several imputed data sets, by Rubin's rules (Rubin 1987).

    The estimate is the mean; its variance is the mean of the variances plus that between the estimates, which is what
    the missing entries add. Imputations should be proper: of parameters that are drawn, too
    (`jaxem.information.draw_parameters`), or the variance is too small.

    **Arguments:**

    - `estimates`: one for each imputation, at least 2:

        - trees of parameters, or vectors or numbers, with `covariances`;
        - what `jaxem.information.observed` returned, or its `delta(fn)`;
        - fits, or the fits of `jaxem.fit_many`, with `model` and `data`.

    - `covariances`: one for each of them: `[m, m]` of all `m` numbers in the order of `jax.flatten_util.ravel_pytree`,
        or their variances, as a tree like the estimate.
    - `level`: of intervals.
    - `num_rows`: how many rows there are. Degrees of freedom are then less than those of the complete data, `num_rows`
        less the number of free parameters (Barnard and Rubin 1999); by default these are taken to be many.
    - `model`: that of fits.
    - `data`: the imputed data, one set for each estimate. Members of mixtures and states, which come in any order, are
        put in the order of the first estimate's, by how they share the rows of the first set.
    - `weights`: those of the fits.

    **Returns:** a `Pooled`.

    **Raises:** `DataError` for estimates of different shapes, wrong covariances, or members without `data`.

    **Example**

    >>> import jaxem
    >>> found = jaxem.pool([1.0, 1.2, 0.8, 1.1], [0.04, 0.05, 0.04, 0.03], num_rows=50)
    >>> round(float(found.estimate), 3), round(float(found.standard_errors), 3)
    (1.025, 0.277)
    >>> round(float(found.degrees_of_freedom), 1), round(float(found.missing_fraction), 3)
    (8.6, 0.567)
    """
    require_level(level)
    several = _listed(estimates, data)
    if len(several) < 2:
        raise DataError(f"estimates must be at least 2, one for each imputation, got {len(several)}")
    if data is not None and len(data) != len(several):
        raise DataError(f"data must be {len(several)} imputed data sets, one for each estimate, got {len(data)}")
    if _is_fit(several[0]):
        if model is None or data is None:
            raise DataError("estimates are fits: pass their model, and the imputed data they were fitted to as data")
        several = [observed(model, fit.params, x, weights=weights) for fit, x in zip(several, data, strict=True)]
    made_of = {type(one) for one in several} & {Information, Estimate}
    if made_of and covariances is not None:
        raise DataError("covariances are for estimates without their own: leave them out")
    if made_of and len({type(one) for one in several}) > 1:
        raise DataError("estimates must be all of one kind")
    number = 0
    if isinstance(several[0], Information):
        model, number = several[0].model, len(several[0].gradient)
        several = _in_one_order(several, data, weights)
    else:
        model = None
    if made_of:
        several = [one for one in several if isinstance(one, Estimate)]
        values, each = [one.value for one in several], [one.covariance for one in several]
    else:
        values, each = _with_covariances(several, covariances)
    flat = np.stack([np.asarray(_flat(value), float) for value in values])
    spread = np.stack([np.asarray(one, float) for one in each])
    complete = np.inf
    if num_rows is not None:
        complete = as_count("num_rows", num_rows) - (number or flat.shape[1])
        if complete < 1:
            raise DataError(f"num_rows is {num_rows}, no more than there are parameters: leave it out")
    mean = flat[0] + (flat - flat[:1]).mean(0)  # exactly that of numbers that are all the same
    away = flat - mean
    estimate = jax.tree.map(jnp.asarray, like(jax.tree.map(_floating, values[0]), mean))
    return Pooled(estimate, spread.mean(0), away.T @ away / (len(flat) - 1), len(flat), float(complete), level, model)


def _is_fit(one: Any) -> bool:
    return hasattr(one, "params") and hasattr(one, "status")


def _listed(estimates: Any, data: Any) -> list[Any]:
    """Estimates in a list; fits along a leading axis, one by one."""
    if not _is_fit(estimates):
        if not isinstance(estimates, Sequence | np.ndarray | jax.Array) or hasattr(estimates, "_fields"):
            raise DataError(f"estimates must be a list, one for each imputation, got a {type(estimates).__name__}")
        return list(estimates)
    if np.ndim(estimates.log_likelihood) != 1:
        raise DataError("estimates is one fit: pass a list of fits, one for each imputation")
    return [jax.tree.map(lambda leaf: leaf[i], estimates) for i in range(len(estimates.log_likelihood))]  # noqa: B023


def _in_one_order(several: Sequence[Information], data: Any, weights: Any) -> list[Estimate]:
    """The parameters of each with their covariance, members in the order of the first's."""
    first, orders = several[0], None
    same = np.arange(getattr(first.model, "num_members", 1), dtype=np.int32)
    if len(same) > 1 and first.model.permuted(first.params, same) is not None:
        if data is None:
            raise DataError(
                "the members of the model come in any order in each fit: pass data=, the imputed data, to tell which "
                "is which"
            )
        for one in several[1:]:
            require_structure(one.params, first.params, "estimates")
        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.params for one in several))
        orders = aligned(first.model, first.params, stack, data[0], weights)[1]
    found = []
    for i, one in enumerate(several):
        order = same if orders is None else orders[i]
        moved = _itself if (order == same).all() else _Permuted(one.model, order)
        estimate = one.delta(moved)
        errors = one.standard_errors if (order == same).all() else one.model.permuted(one.standard_errors, order)
        lost = np.isnan(np.asarray(_flat(errors), float))
        covariance = np.where(lost[:, None] | lost[None, :], np.nan, estimate.covariance)
        found.append(Estimate(estimate.value, errors, covariance))
    return found


def _itself(params: PyTree) -> PyTree:
    return params


class _Permuted:
    """Parameters with their members in another order."""

    def __init__(self, model: Any, order: np.ndarray):
        self._model, self._order = model, order

    def __call__(self, params: PyTree) -> PyTree:
        return self._model.permuted(params, jnp.asarray(self._order))


def _with_covariances(values: list[Any], covariances: Any) -> tuple[list[PyTree], list[np.ndarray]]:
    """Estimates as trees of arrays, and a matrix for each."""
    if covariances is None or len(covariances) != len(values):
        given = "none" if covariances is None else len(covariances)
        raise DataError(f"covariances must be {len(values)}, one for each estimate, got {given}")
    values = [jax.tree.map(jnp.asarray, value) for value in values]
    found = []
    for i, (value, given) in enumerate(zip(values, covariances, strict=True)):
        require_structure(value, values[0], f"estimates[{i}]")
        size, shapes = _flat(value).size, [jnp.shape(leaf) for leaf in jax.tree.leaves(value)]
        if shapes != [jnp.shape(leaf) for leaf in jax.tree.leaves(values[0])]:
            raise DataError(f"estimates[{i}] has other shapes than estimates[0]")
        leaves = jax.tree.leaves(given)
        if len(leaves) == 1 and np.shape(leaves[0]) == (size, size):
            matrix = np.asarray(leaves[0], float)
        elif [np.shape(leaf) for leaf in leaves] == shapes:
            matrix = np.diag(np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(float))
        else:
            got = ", ".join(str(np.shape(leaf)) for leaf in leaves)
            raise DataError(f"covariances[{i}] has shape {got}: it must be [{size}, {size}], or variances as a tree")
        if (np.diagonal(matrix) < 0).any():
            raise DataError(f"covariances[{i}] has a negative variance, {np.diagonal(matrix).min():g}")
        found.append(matrix)
    return values, found


def _flat(value: PyTree) -> Any:
    return ravel_pytree(jax.tree.map(_floating, value))[0]


def _floating(leaf: Any) -> Any:
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.result_type(float))
