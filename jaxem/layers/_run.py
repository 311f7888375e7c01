"""One fit of a layer: finite whatever rows it is given, with a mask that says whether it can be trusted."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from jaxem._algorithm import Algorithm
from jaxem._bound import scoring
from jaxem._errors import DataError
from jaxem._solve import solve
from jaxem._status import Status, status_code
from jaxem.e_step import Tempered
from jaxem.engine.convert import is_concrete
from jaxem.engine.door import check_params
from jaxem.engine.trees import all_finite, choose
from jaxem.families import GaussianParams
from jaxem.families.priors import require_positive
from jaxem.kernels.linalg import trailing
from jaxem.kernels.rows import without_weight
from jaxem.layers._layer import Fitting
from jaxem.termination import FixedSteps

_POOR = 0.01  # of an equal share of the rows: a member that holds less is revived


class Look(NamedTuple):
    """What is seen of the rows of a table at given parameters."""

    shares: Float[Array, "n k"]  # of each row that is each member's
    scores: Float[Array, " n"]  # how well each row is explained
    weights: Float[Array, " n"]  # 0 for rows that are not there


class Fitted(NamedTuple):
    """A fit, the rows that it is one of, and what is seen of them."""

    params: PyTree
    look: Look
    data: PyTree
    trusted: Bool[Array, ""]


class AbstractTask(eqx.Module):
    """What a layer fits: a model with Gaussian members, from `start`."""

    model: eqx.AbstractVar[Any]
    start: eqx.AbstractVar[Any]

    @abstractmethod
    def table(self, data: PyTree) -> Float[Array, "n d"]:
        """The rows that members are distributions of."""

    @abstractmethod
    def look(self, params: Any, data: PyTree, weights: Array | None, temperature: Array) -> Look:
        """What is seen of these rows."""

    @abstractmethod
    def reseat(self, params: Any, dead: Bool[Array, " k"], places: Float[Array, "k d"]) -> Any:
        """Parameters in which the members that are `dead` are at these places, with a share like the others'."""


def fit(
    task: AbstractTask, warm: Any, data: PyTree, weights: Array | None, temperature: Any, fitting: Fitting
) -> Fitted:
    """The parameters of `task` after EM from `warm` (or `task.start`), with their derivatives.

    A problem that has no numbers to fit, such as one with NaN among its rows, is replaced by one of zeros, and not
    trusted: in a batch it would make the derivatives of all others NaN.
    """
    dtype = jax.tree.leaves(task.start)[0].dtype
    data = jax.tree.map(jnp.asarray, data)
    for leaf in jax.tree.leaves((data, warm)):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and jnp.result_type(leaf) != dtype:
            raise DataError(
                f"the rows (or the warm start) are {jnp.result_type(leaf)}, but the initial parameters are {dtype}; "
                "convert one of them"
            )
    require_positive(temperature, "temperature")
    if is_concrete(task.start):
        check_params(task.model, task.start, "start")
    weights = None if weights is None else jnp.asarray(weights, dtype)
    return _fit(task, warm, data, weights, jnp.asarray(temperature, dtype), fitting)


@eqx.filter_jit
def _fit(task: AbstractTask, warm: Any, data: PyTree, weights: Any, temperature: Array, fitting: Fitting) -> Fitted:
    temperature = jnp.maximum(temperature, float(jnp.finfo(temperature.dtype).tiny) ** 0.25)
    usable = _usable(data, weights) & all_finite((task.start, temperature))
    data = jax.tree.map(lambda leaf: _where(usable, leaf, 0), data)
    weights = None if weights is None else _where(usable, weights, 1)
    params = task.start if warm is None else choose(all_finite(warm), warm, task.start)
    task, params, data, weights, temperature = finite_derivative((task, params, data, weights, temperature))

    algorithm = Algorithm(e_step=Tempered(temperature))

    def once(params: Any) -> Any:
        return solve(
            task.model,
            params,
            data,
            algorithm=algorithm,
            weights=weights,
            tol=fitting.tol,
            max_steps=fitting.max_steps if fitting.steps is None else fitting.steps,
            termination=None if fitting.steps is None else FixedSteps(),
            adjoint=fitting.derivative,
            history_size=1,
            kernel=fitting.kernel,
        )

    found = once(params)
    for _ in range(fitting.revivals):
        look = task.look(found.params, data, weights, temperature)
        found = once(_revived(task, found.params, look, data))
    look = task.look(found.params, data, weights, temperature)
    code = status_code(found.status)
    ended = (code == status_code(Status.converged)) | (code == status_code(Status.completed))
    trusted = usable & ended & all_finite(found.params)
    if fitting.pseudo_count is None:
        trusted = trusted & ~jnp.any(without_weight(_counts(look)))
    return Fitted(found.params, look, data, trusted)


def about_constant(model: Any, params: PyTree) -> Any:
    """A model made ready for questions about `params`, on its most accurate kernel.

    Where statistics are taken about does not change the potentials, so that it has no part in their derivative.
    """
    return scoring(model, jax.lax.stop_gradient(params))


def state_after(start: PyTree, params: PyTree, trusted: Array) -> PyTree:
    """What the next call may start from: the fitted parameters, or the initial ones where those cannot be trusted."""
    return jax.lax.stop_gradient(choose(trusted, params, start))


def placed(members: GaussianParams, dead: Array, places: Array, shared: bool) -> GaussianParams:
    """Members, those that are `dead` at these places, with the mean of the covariances of the others."""
    mean, covariance = jnp.where(dead[:, None], places, members.mean), members.covariance
    if not shared:
        alive = trailing(~dead, covariance).astype(covariance.dtype)
        common = jnp.sum(alive * covariance, 0, keepdims=True) / jnp.sum(alive)
        covariance = jnp.where(trailing(dead, covariance), common, covariance)
    return GaussianParams(mean, covariance)


def with_equal_share(p: Float[Array, "... k"], dead: Bool[Array, " k"]) -> Float[Array, "... k"]:
    """Probabilities in which each entry that is `dead` is `1 / k`; the others share the rest as they did."""
    k = p.shape[-1]
    dead = jnp.broadcast_to(dead, p.shape)
    rest = jnp.sum(jnp.where(dead, 0, p), -1, keepdims=True)
    free = 1 - jnp.sum(dead, -1, keepdims=True, dtype=p.dtype) / k
    kept = jnp.where(rest > 0, p / jnp.where(rest > 0, rest, 1), 1 / jnp.maximum(k * free, 1))
    return jnp.where(dead, 1 / k, kept * free)


def _revived(task: AbstractTask, params: Any, look: Look, data: PyTree) -> Any:
    counts = _counts(look)
    k = counts.shape[0]
    dead = counts < _POOR * jnp.sum(counts) / k
    worst = jax.lax.top_k(jnp.where(look.weights > 0, -look.scores, -jnp.inf), min(k, look.scores.shape[0]))[1]
    place = worst[jnp.clip(jnp.cumsum(dead) - 1, 0, worst.shape[0] - 1)]
    return choose(jnp.any(dead), task.reseat(params, dead, task.table(data)[place]), params)


def _counts(look: Look) -> Float[Array, " k"]:
    return jnp.sum(look.weights[:, None] * look.shares, 0)


def _usable(data: PyTree, weights: Array | None) -> Bool[Array, ""]:
    """Whether all numbers are finite, small enough to be squared twice, and some row has a weight."""
    usable = jnp.ones((), bool)
    for leaf in jax.tree.leaves(data):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            usable = usable & jnp.all(jnp.abs(leaf) < float(jnp.finfo(leaf.dtype).max) ** 0.25)
    if weights is not None:
        usable = usable & jnp.all(jnp.isfinite(weights)) & jnp.all(weights >= 0) & jnp.any(weights > 0)
    return usable


def _where(usable: Array, leaf: Any, instead: float) -> Array:
    return jnp.where(usable, leaf, instead) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def finite_derivative(tree: PyTree) -> PyTree:
    """The same numbers. A derivative with respect to them is 0 as a whole if any number of it is not finite.

    The numbers themselves must be finite. In a batch each problem is judged by itself, in forward mode and in reverse.
    """
    numbers, rest = eqx.partition(tree, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(numbers)

    def solve(_, values: Array) -> Array:
        return jnp.where(jnp.all(jnp.isfinite(values)), values, 0)

    # To JAX the solution of a linear equation, with a transpose of its own; the matrix is the identity.
    return eqx.combine(unravel(jax.lax.custom_linear_solve(lambda values: values, flat, solve, solve)), rest)
