"""Derivatives of the fit of every model, along a direction of each of its inputs, against central differences."""

from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxem
from jaxem.adjoint import Unroll
from jaxem.termination import FixedSteps
from tests.helpers import product

STEP = 1e-4
DRAWN = "continuous function"  # its posterior is known by draws alone
NAMES = [name for name in product.models() if name != DRAWN]
QUICK, OPTIMIZED = "diagonal, priors", ("diagonal, priors", "function", "experts")
PARTS = ("model", "data", "weights")


def arrays(model):
    """A model whose hyperparameters are JAX arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray) else leaf, model)


def real(leaf):
    """True for entries in columns of real numbers: not counts, categories, constants, gaps or bounds of a domain."""
    leaf = np.asarray(leaf)
    seen = np.where(np.isfinite(leaf), leaf, 0)
    whole = np.all(seen == np.round(seen), axis=0, keepdims=True)
    return np.isfinite(leaf) & (leaf != 0) & ~np.broadcast_to(whole, leaf.shape)


def together(data, by):
    """The direction `by` in the data, in which values that were observed exactly stay so."""

    def one(data, by):
        if not isinstance(data, jaxem.Interval):
            return by
        exact = np.asarray(data.lower) == np.asarray(data.upper)
        return by._replace(upper=np.where(exact, by.lower, by.upper))

    return jax.tree.map(one, data, by, is_leaf=lambda node: isinstance(node, jaxem.Interval))


@lru_cache
def found(name):
    """For each part of the inputs: derivatives of the estimate and objective, and what they should be.

    One program: in lanes, each part at its value and to both sides of it.
    """
    cell = product.models()[name]
    inputs = (arrays(cell.model), cell.x, cell.weights)
    dynamic, static = eqx.partition(inputs, eqx.is_inexact_array)
    rng = np.random.default_rng(3)
    drawn = [jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), part) for part in dynamic]
    drawn[1] = jax.tree.map(lambda leaf, by: by * real(leaf), dynamic[1], drawn[1])
    drawn[1] = together(dynamic[1], drawn[1])
    drawn[0] = jax.tree.map(lambda leaf, by: by * np.asarray(leaf), dynamic[0], drawn[0])  # relative to its size
    zero = [jax.tree.map(np.zeros_like, part) for part in drawn]
    directions = [tuple(drawn[i] if i == part else zero[i] for i in range(3)) for part in range(3)]
    lanes = [(by, side) for by in directions for side in (0.0, STEP, -STEP)]
    places = [jax.tree.map(lambda a, b, s=side: a + s * b, dynamic, by) for by, side in lanes]
    place, direction = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (places, [by for by, _ in lanes])
    )

    def fit(dynamic, start, **options):
        model, x, weights = eqx.combine(dynamic, static)
        result = jaxem.solve(model, start, x, weights=weights, termination=FixedSteps(), history_size=1, **options)
        return ravel_pytree(result.params)[0], result.objective

    @jax.jit
    @jax.vmap
    def both(dynamic, by, start):
        here, along = jax.jvp(lambda d: fit(d, start, max_steps=1500), (dynamic,), (by,))
        start = jax.lax.stop_gradient(unravel(here[0]))
        partial = jax.jvp(lambda d: fit(d, start, max_steps=0, adjoint=Unroll(0))[1], (dynamic,), (by,))[1]
        return here, along, partial

    _, unravel = ravel_pytree(cell.start)
    start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(lanes), *jnp.shape(leaf))), cell.start)
    here, _, _ = both(place, direction, start)
    here, along, partial = both(place, direction, jax.vmap(unravel)(here[0]))
    (estimate, objective), slopes, partial = jax.tree.map(np.asarray, (here, along, partial))
    result = {}
    for i, part in enumerate(PARTS):
        if any(np.any(leaf) for leaf in jax.tree.leaves(drawn[i])):
            expected = [(a[3 * i + 1] - a[3 * i + 2]) / (2 * STEP) for a in (estimate, objective)]
            result[part] = (slopes[0][3 * i], slopes[1][3 * i], *expected, partial[3 * i])
    return result


def cases():
    for name in NAMES:
        marks = [pytest.mark.slow] if name != QUICK else []
        yield pytest.param(name, marks=[*marks, pytest.mark.optimized] if name in OPTIMIZED else marks)


@pytest.mark.parametrize("name", [*cases()])
def test_derivatives_are_those_of_the_fit(name):
    """Of parameters and objective; that of the objective is its partial derivative alone, since it is a maximum."""
    results = found(name)
    assert "weights" in results
    for part, (params, objective, params_differ, objective_differs, partial) in results.items():
        size = np.abs(params_differ).max()
        assert size > 1e-4 or part == "model"
        np.testing.assert_allclose(params, params_differ, rtol=0, atol=1e-4 * size + 1e-9, err_msg=part)
        np.testing.assert_allclose(objective, objective_differs, rtol=1e-4, atol=1e-6, err_msg=part)
        np.testing.assert_allclose(objective, partial, rtol=1e-5, atol=1e-7, err_msg=part)
