"""The parameters at a fixed point, with derivatives from the equation that they solve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._loop import Problem, State
from jaxem.adjoint._equation import closed, defect, require_equation, slope, unknowns
from jaxem.adjoint._linear import columns, dense, iterative, pseudo_inverse
from jaxem.kernels.linalg import matmul

# What Newton's step may still gain of the objective, in nats per unit of weight, for a run to count as converged.
_GAIN = 1e-4


class Settings(NamedTuple):
    """How the linear equation is solved; with `one_step` that of the last iteration alone."""

    linear_solver: Any = None
    dense_limit: int = 1000
    unidentified: str = "minimum_norm"
    unconverged: str = "nan"
    one_step: bool = False


def attached(problem: Problem, state: State, settings: Settings) -> State:
    """`state`, whose parameters have derivatives with respect to `problem`."""
    return state._replace(params=_attach(problem, state, settings))


@eqx.filter_custom_jvp
def _attach(problem, state, settings):
    return state.params


@_attach.def_jvp
def _(primals, tangents):
    problem, state, settings = primals
    require_equation(problem)
    constant = _constant(problem)
    # Not `state.params`: derivatives of higher order need those of the point where this one is taken.
    params = _attach(problem, state, settings)
    here, at = unknowns(constant, params)
    if here.size == 0:
        return params, jax.tree.map(jnp.zeros_like, params)

    def equation(problem, new, old):
        return defect(problem, state, at, new, old)

    _, driven = eqx.filter_jvp(lambda p: equation(p, here, here), (problem,), (tangents[0],))
    driven = jnp.zeros_like(here) if driven is None else driven
    way = _way(constant, state, jax.lax.stop_gradient(here), settings)

    def product(v):
        old = here if settings.one_step else None
        return _product(lambda new, old: equation(problem, new, old), here, old, v) / way.size

    moved = jax.lax.custom_linear_solve(product, driven / way.size, way.forward, way.backward) * way.trust
    return params, jax.jvp(at, (here,), (moved,))[1]


class _Way(NamedTuple):
    """How the linear equation is solved: what its rows are divided by, and 1 if the result is to be trusted, or NaN."""

    forward: Callable
    backward: Callable
    size: Array
    trust: Array


def _way(problem: Problem, state: State, here: Array, settings: Settings) -> _Way:
    at = unknowns(problem, jax.lax.stop_gradient(state.params))[1]

    def fixed(new, old):
        return defect(problem, state, at, new, old)

    one, ones = jnp.ones((), here.dtype), jnp.ones_like(here)
    direct = closed(problem)
    if direct and settings.one_step:
        return _Way(lambda _, b: b, lambda _, c: c, ones, one)
    left = fixed(here, here)
    if settings.linear_solver is None and here.size <= settings.dense_limit:
        matrix, size = _matrix(fixed, here, direct, settings.one_step)
        found = pseudo_inverse(matrix, left / size, here)
        forward, backward = dense(found, settings.unidentified == "nan")
        step = matmul(found.inverse, left / size)
    else:
        size, old = ones, here if settings.one_step else None
        forward, backward = iterative(settings.linear_solver, here)
        step = forward(lambda v: _product(fixed, here, old, v), left)
    if settings.unconverged == "as_is":
        return _Way(forward, backward, size, one)
    uphill = slope(problem, state, at, here) if direct else left
    gain = jnp.abs(jnp.sum(uphill * step)) / 2 / problem.total_weight
    return _Way(forward, backward, size, jnp.where(gain <= _GAIN, 1, jnp.nan).astype(here.dtype))


def _product(fixed: Callable, here: Array, old: Array | None, v: Array) -> Array:
    """Minus the derivative of the equation along `v`; in the first argument alone if the second one is given."""
    if old is None:
        return -jax.jvp(lambda both: fixed(both, both), (here,), (v,))[1]
    return -jax.jvp(lambda new: fixed(new, old), (here,), (v,))[1]


def _matrix(fixed: Callable, here: Array, direct: bool, one_step: bool) -> tuple[Array, Array]:
    """The matrix of the linear equation, and what its rows have been divided by.

    Without a closed form that is the information of the complete data about each unknown, such that the matrix has no
    units, and is as large as 1 in directions about which nothing is hidden.
    """

    def pair(unit):
        moved = jnp.zeros_like(here) if one_step else -jax.jvp(lambda old: fixed(here, old), (here,), (unit,))[1]
        return (unit if direct else _product(fixed, here, here, unit)), moved

    complete, hidden = columns(pair, here.size, here.dtype)
    diagonal = jnp.abs(jnp.diagonal(complete))
    size = jnp.where(diagonal > 0, diagonal, 1)
    return (complete + hidden).T / size[:, None], size


def _constant(tree: PyTree) -> PyTree:
    dynamic, static = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(dynamic), static)
