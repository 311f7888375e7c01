"""The parameters at a fixed point, with derivatives from the equation that they solve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem.engine.adjoint.equation import closed, defect, defect_and_slope, require_equation, unknowns
from jaxem.engine.adjoint.linear import columns, dense, iterative, pseudo_inverse
from jaxem.engine.problem import Problem
from jaxem.engine.state import State
from jaxem.kernels.linalg import matmul

# What Newton's step may still gain of the objective, in nats per unit of weight, for a run to count as converged.
_GAIN = 1e-4
# Newton steps that improve the place where derivatives are taken, until one would gain less than that.
_POLISH, _FINE = 3, 1e-12


class Settings(NamedTuple):
    """How the linear equation is solved; with `one_step` that of the last iteration alone."""

    linear_solver: Any = None
    dense_limit: int = 1000
    unidentified: str = "minimum_norm"
    unconverged: str = "nan"
    one_step: bool = False


def attached(problem: Problem, state: State, settings: Settings) -> State:
    """`state`, whose parameters have derivatives with respect to `problem`."""
    return state.with_params(_attach(problem, state, settings))


@eqx.filter_custom_jvp
def _attach(problem, state, settings):
    return state.iterate.params


@_attach.def_jvp
def _(primals, tangents):
    problem, state, settings = primals
    require_equation(problem)
    constant = _constant(problem)
    # Not those of `state`: derivatives of higher order need those of the point where this one is taken.
    params = _attach(problem, state, settings)
    here, at = unknowns(constant, params)
    if here.size == 0:
        return params, jax.tree.map(jnp.zeros_like, params)

    way = _way(constant, state, jax.lax.stop_gradient(here), settings)
    if settings.unconverged == "one_step":
        way = _or_else(way, _way(constant, state, jax.lax.stop_gradient(here), Settings(*settings[:2], one_step=True)))
    here = here + way.shift

    def equation(problem, new, old):
        return defect(problem, state, at, new, old)

    _, driven = eqx.filter_jvp(lambda p: equation(p, here, here), (problem,), (tangents[0],))
    driven = jnp.zeros_like(here) if driven is None else driven

    def product(v):
        old = here if settings.one_step else None
        return _product(lambda new, old: equation(problem, new, old), here, old, v) / way.size

    moved = jax.lax.custom_linear_solve(product, driven / way.size, way.forward, way.backward) * way.trust
    return params, jax.jvp(at, (here,), (moved,))[1]


class _Way(NamedTuple):
    """How the linear equation is solved."""

    shift: Array  # from the last iterate to where the equation is taken
    size: Array  # what its rows are divided by
    forward: Callable
    backward: Callable
    trust: Array  # 1, or NaN where the run had not converged


class _Place(NamedTuple):
    """What is known at one place."""

    shift: Array
    step: Array  # Newton's, on from there
    gain: Array  # what it would gain
    size: Array
    found: Any  # the inverse of the matrix, where there is one


def _or_else(way: _Way, other: _Way) -> _Way:
    """One way where it can be trusted and what it finds is finite, and the other where not."""
    trusted = jnp.isfinite(way.trust)
    size = jnp.where(trusted, way.size, other.size)

    def either(solve: Callable, instead: Callable) -> Callable:
        def solution(product: Callable, b: Array) -> Array:
            found = solve(product, b)
            return jnp.where(trusted & jnp.all(jnp.isfinite(found)), found, instead(product, b * size / other.size))

        return solution

    return _Way(
        jnp.where(trusted, way.shift, other.shift),
        size,
        either(way.forward, other.forward),
        either(way.backward, other.backward),
        jnp.ones_like(way.trust),
    )


def _way(problem: Problem, state: State, here: Array, settings: Settings) -> _Way:
    at = unknowns(problem, jax.lax.stop_gradient(state.iterate.params))[1]
    direct, ones = closed(problem), jnp.ones_like(here)
    by_matrix = settings.linear_solver is None and here.size <= settings.dense_limit
    if direct and settings.one_step:
        return _Way(jnp.zeros_like(here), ones, lambda _, b: b, lambda _, c: c, ones[0])

    def fixed(new, old):
        return defect(problem, state, at, new, old)

    def look(shift):
        there = here + shift
        left, uphill = defect_and_slope(problem, state, at, there)
        size, found = ones, ()
        if by_matrix:
            matrix, size = _matrix(fixed, there, direct, settings.one_step)
            found = pseudo_inverse(matrix, left / size, there)
            step = matmul(found.inverse, left / size)
        else:
            old = there if settings.one_step else None
            step = iterative(settings.linear_solver, here)[0](lambda v: _product(fixed, there, old, v), left)
        # A step within rounding error is none, however steep it is beside the bound of a parameter.
        seen = jnp.abs(step) > jnp.finfo(here.dtype).eps * jnp.max(jnp.abs(there))
        gain = jnp.abs(jnp.sum(jnp.where(seen, uphill * step, 0))) / 2 / problem.total_weight
        gain = jnp.where(jnp.all(jnp.isfinite(step)), gain, jnp.inf)
        return _Place(shift, step, gain, size, found)

    strict = not settings.one_step and settings.unconverged != "as_is"
    place, gain = _polished(look, here, _POLISH if strict else 1)
    if by_matrix:
        forward, backward = dense(place.found, settings.unidentified == "nan")
    else:
        forward, backward = iterative(settings.linear_solver, here)
    if settings.one_step and not by_matrix:
        # Its matrix is symmetric, and not that of the equation where this is what is done instead.
        solve, alone = forward, lambda v: _product(fixed, here, here, v)
        forward = backward = lambda _, b: solve(alone, b)
    trust = jnp.where(gain <= _GAIN, 1, jnp.nan).astype(here.dtype) if strict else ones[0]
    return _Way(place.shift, place.size, forward, backward, trust)


def _polished(look: Callable, here: Array, most: int) -> tuple[_Place, Array]:
    """The place after Newton steps from `here` that lead closer to the fixed point, and what the first would gain.

    An error in the place is one in the derivative. Newton's method squares it, at the price of a matrix.
    """
    fine = max(_FINE, float(jnp.finfo(here.dtype).eps))

    def going(carry):
        count, place, _ = carry
        return (count == 0) | ((count < most) & (place.gain > fine))

    def body(carry):
        count, place, first = carry
        new = look(place.shift + place.step)
        better = (count == 0) | (new.gain < place.gain)
        # With nowhere better to go the loop ends.
        stay = place._replace(gain=jnp.zeros_like(place.gain))
        place = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, stay)
        return count + 1, place, jnp.where(count == 0, new.gain, first)

    zero = jnp.zeros_like(here)
    begun = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(look, zero))
    _, place, first = jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), begun, jnp.zeros_like(here[0])))
    return place, first


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
