"""The observed information of a fitted model, and the standard errors that follow from it."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._errors import DataError
from jaxem.engine.convert import as_weights, is_concrete
from jaxem.engine.door import count_rows, require_params
from jaxem.information._bounds import held
from jaxem.information._clusters import cluster_scores, clusters_of
from jaxem.information._information import FARTHEST, Information
from jaxem.information._matrices import METHODS, matrices
from jaxem.information._monomials import pay
from jaxem.information._over_batches import are_batches, summed

_FROM_SCORES = ("oakes", "louis", "scores", "sandwich")  # methods that take second moments of scores


def observed(
    model: Any,
    params: PyTree,
    data: PyTree,
    *,
    weights: Array | None = None,
    method: str = "oakes",
    groups: Any = None,
) -> Information:
    """What the data tell of the parameters: the information matrix, and standard errors, intervals and tests from it.

    In the unconstrained coordinates of the parameters that are not frozen; the delta method leads to the parameters
    that people read. With a prior it is the curvature of the log posterior. Exact derivatives, a block of rows at a
    time: memory does not grow with the number of rows times that of parameters.

    **Arguments:**

    - `model`: any model with a likelihood.
    - `params`: a maximum: the parameters of a fit that has converged.
    - `data`, `weights`: what it was fitted to; a weight of `k` counts as `k` rows. Or batches of a file,
        `jaxem.batches(...)` or a callable that returns an iterator as for `jaxem.fit_stream`, which bring their own
        weights: read once, for all methods but `"sem"` and without `groups`.
    - `method`:

        - `"oakes"`: minus the derivative of the gradient of Q, through the E-step too (Oakes 1999). Minus the second
            derivative of the log-likelihood, by sums that EM has anyway.
        - `"hessian"`: the same, by differentiating the log-likelihood twice.
        - `"louis"`: the same, from the second moments of the complete score (Louis 1982), for rows that choose one of
            several members independently.
        - `"sem"`: the same at a maximum, from the rate matrix of EM (Meng and Rubin 1991).
        - `"scores"`: the sum of outer products of the rows' scores, which has the same limit if the model is right.
        - `"sandwich"`: the covariance `I^-1 S I^-1` of Oakes's information and the scores', which is right in large
            samples even if the model is not (Huber 1967; White 1982).

    - `groups`: for `"sandwich"`, a label `[n]` for each row: rows of a group may depend on each other (Liang and Zeger
        1986).

    **Returns:** `Information`. Directions that the data do not determine are found and named, not inverted; parameters
    on a bound are taken as known. Under `jit` its `matrix` is there, and nothing is refused.

    **Raises:** `FitError` for parameters that are no maximum, or too far from one: a third of a standard error.
    `MissingCapabilityError` for `"louis"` of a model without these moments. `DataError` for wrong arguments.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> model, x = jaxem.Single(jaxem.Gaussian("diagonal")), jnp.array([[1.0], [2.0], [4.0], [5.0]])
    >>> params = jaxem.families.GaussianParams(jnp.array([3.0]), jnp.array([2.5]))
    >>> found = jaxem.information.observed(model, params, x)
    >>> round(float(found.standard_errors.mean[0]), 4)  # the root of 2.5 / 4
    0.7906
    >>> found.interval().lower.covariance.round(3).tolist()  # on the scale of logarithms
    [0.625]
    """
    if method not in METHODS:
        raise DataError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if groups is not None and method != "sandwich":
        raise DataError(f'groups are for method="sandwich", got method={method!r}')
    require_params(params)
    if are_batches(data):
        return _of_batches(model, params, data, weights, method, groups)
    labels = None if groups is None else clusters_of(groups, count_rows(data))
    monomials = method in _FROM_SCORES and pay(model, params, data, weights)
    asked = method if labels is None else "oakes"
    found = matrices(model, params, data, weights=weights, method=asked, monomials=monomials)
    scores = found.scores
    if labels is not None:
        scores = cluster_scores(model, params, data, weights=weights, labels=labels.number, size=labels.size)
    dtype, n = found.observed.dtype, count_rows(data)
    given = as_weights(weights, n, dtype)
    total = jnp.asarray(n, dtype) if given is None else jnp.sum(jnp.asarray(given))
    info = Information(
        model, found.params, found.observed, found.complete, found.gradient, total, scores, method=method
    )
    if not is_concrete(info.matrix):
        return info
    if model.linear and info.decrement > FARTHEST:
        info = dataclasses.replace(info, fixed=jnp.asarray(held(model, params, data, weights, found)))
    return info.require_maximum()


def _of_batches(model: Any, params: PyTree, batches: Any, weights: Any, method: str, groups: Any) -> Information:
    """The same of rows that are read batch by batch."""
    if weights is not None:
        raise DataError("weights: batches bring their own, jaxem.batches(..., weights=...) or pairs; leave it out")
    if method == "sem" or groups is not None:
        what = "groups" if groups is not None else 'method="sem"'
        raise DataError(f"{what} takes all rows at once, and data come in batches: pass a table, or leave it out")
    found, total = summed(model, params, batches, method)
    total = jnp.asarray(total, found.observed.dtype)
    return Information(
        model, found.params, found.observed, found.complete, found.gradient, total, found.scores, method=method
    ).require_maximum()
