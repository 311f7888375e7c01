"""Rao's score test: a hypothesis judged where it was fitted, without a fit of the alternative."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree
from scipy import special

from jaxem._arguments import require_kind
from jaxem._errors import DataError, FitError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.convert import as_weights
from jaxem.engine.door import count_rows, for_question
from jaxem.information._functions import derivatives
from jaxem.information._identified import moves, spectrum
from jaxem.information._information import FARTHEST
from jaxem.information._matrices import matrices
from jaxem.information._scalar import entries

METHODS = ("oakes", "hessian", "scores")


class ScoreTest(NamedTuple):
    """A test: `statistic` is chi-square with so many `degrees_of_freedom` where the hypothesis holds."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


def score_test(
    model: AbstractModel,
    params: PyTree,
    data: Any,
    constraint: Callable[[PyTree], PyTree] | str | Sequence[str],
    *,
    weights: Any = None,
    method: str = "oakes",
) -> ScoreTest:
    """Rao's test of a hypothesis, from the score and the information of the larger model at the fit of the smaller one.

    The statistic is `g' I^-1 g` (Rao 1948), on the part of it that the hypothesis holds down (Neyman 1959), so that
    what is left of the slope in other parameters does not count. The alternative is not fitted: for many alternatives
    to one fit, or one that is hard to fit.

    **Arguments:**

    - `model`: the alternative, the larger model.
    - `params`: its parameters where the hypothesis was fitted: those of the same model with something `frozen`, of a
        smaller model with zeros for what it lacks, or of `jaxem.profile(..., values=[...])`.
    - `data`, `weights`: what it was fitted to.
    - `constraint`: a function of the parameters to a tree of arrays that are all 0 under the hypothesis; or names of
        the parameters, or entries, that it fixes: `"coefficients[1]"`, `("noise_variance", "weights[0]")`.
    - `method`: the information: `"oakes"` or `"hessian"` (observed), or `"scores"`, the sum of outer products of the
        rows' scores, which is never negative. They are those of the unconstrained coordinates.

    **Returns:** a `ScoreTest`. A hypothesis on the bound of the parameters, such as that a weight is 0, has another
    distribution than chi-square, and no slope there: use `jaxem.likelihood_ratio_test`.

    **Raises:** `FitError` where `params` are no fit of the hypothesis, or the observed information is no covariance
    there. `DataError` for a constraint that does not hold, or that the data do not determine.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model, x = jaxem.Single(jaxem.Bernoulli()), jnp.array([[1.0], [0.0], [1.0], [1.0]])
    >>> half = jaxem.families.BernoulliParams(jnp.array([0.5]))
    >>> test = jaxem.information.score_test(model, half, x, "probability")  # (3 - 2)^2 / (4 * 0.5 * 0.5)
    >>> round(test.statistic, 4), test.degrees_of_freedom, round(test.p_value, 4)
    (1.0, 1, 0.3173)
    """
    given = {"model": model, "params": params, "data": data, "weights": weights}
    require_concrete("jaxem.information.score_test", "jaxem.information.observed", **given)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    if method not in METHODS:
        raise DataError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    data, weights, params, _ = for_question(model, params, data, weights)
    found = matrices(model, params, data, weights=weights, method=method)
    fn = constraint if callable(constraint) else entries(found.params, constraint)
    value, jacobian = derivatives(model, found.params, fn)
    if callable(constraint):
        _require_zero(value, jnp.finfo(found.observed.dtype).eps)
    jacobian, gradient = np.asarray(jacobian, float), np.asarray(found.gradient, float)
    eps = float(jnp.finfo(found.observed.dtype).eps)
    observed, complete = np.asarray(found.observed, float), np.asarray(found.complete, float)
    if not all(np.isfinite(a).all() for a in (observed, complete, gradient)):
        raise FitError("the information is not finite: the log-likelihood has no second derivatives at params")
    given = as_weights(weights, count_rows(data), None)
    total = count_rows(data) if given is None else float(np.sum(given))
    known = spectrum(observed, complete, np.zeros_like(gradient), total, eps)
    if known.saddle > 0:
        raise FitError(
            "the observed information is negative along some direction at params, far from the alternative's maximum: "
            'use method="scores"'
        )
    if moves(jacobian, known, eps).any():
        raise DataError("constraint depends on parameters that the data do not determine, or that are on a bound")
    return _judged(known.root.T @ gradient, jacobian @ known.root, eps)


def _judged(slope: np.ndarray, jacobian: np.ndarray, eps: float) -> ScoreTest:
    """The test, from the slope and the constraint's derivatives in coordinates whose information is the identity."""
    _, sizes, rows = np.linalg.svd(jacobian, full_matrices=False)
    rank = int(np.sum(sizes > eps ** (2 / 3) * np.max(sizes, initial=0)))
    if rank == 0:
        raise DataError("constraint does not depend on any parameter that is estimated, or lies on a bound")
    held = rows[:rank] @ slope
    left = float(np.linalg.norm(slope - rows[:rank].T @ held))
    if left > FARTHEST:
        raise FitError(
            f"params are no fit of the hypothesis: its maximum is {left:.2g} standard errors away; fit the smaller "
            "model with a smaller tol and more steps"
        )
    statistic = float(held @ held)
    return ScoreTest(statistic, rank, float(special.chdtrc(rank, statistic)))


def _require_zero(value: PyTree, eps: Any) -> None:
    flat = np.asarray(ravel_pytree(jax.tree.map(_floating, value))[0], float)
    wrong = np.flatnonzero(~(np.abs(flat) <= float(eps) ** 0.25))
    if len(wrong):
        raise DataError(
            f"constraint does not hold at params: it is {flat[wrong[0]]:.3g} there, and must be 0; pass the parameters "
            "of a fit of the hypothesis"
        )


def _floating(leaf: Any) -> Array:
    return jnp.asarray(leaf, jnp.result_type(float))
