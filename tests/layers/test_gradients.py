"""Derivatives of layers with respect to rows, initial parameters and temperature, by each adjoint."""

import jax
import numpy as np
import pytest

from jaxem.adjoint import Implicit, OneStep, Unroll
from jaxem.layers import Fitting
from tests.layers.cases import INPUTS, along, call, differences, directions, inputs, number, value

FAR = Fitting(steps=600, adjoint=OneStep())  # to where nothing changes any more
slow = pytest.mark.slow
LAYERS = ["clusters", *(pytest.param(name, marks=slow) for name in INPUTS if name != "clusters")]


def gradient(run, given):
    found, trusted = jax.jit(jax.grad(run, has_aux=True))(given)
    assert bool(trusted)
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_implicit_is_the_limit_of_differences(name):
    given = inputs(name)
    by = directions(given)
    found = along(gradient(value(name, Fitting(adjoint=Implicit(), tol=1e-13)), given), by)
    expected = differences(value(name, FAR), given, by)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_unrolling_a_number_of_steps_is_the_limit_of_differences(name):
    given, fitting = inputs(name), Fitting(steps=4)
    by = directions(given)
    found = along(gradient(value(name, fitting), given), by)
    np.testing.assert_allclose(found, differences(value(name, fitting), given, by), rtol=1e-6, atol=1e-8)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_unrolling_to_convergence_is_implicit(name):
    given = inputs(name)
    by = directions(given)
    implicit, unrolled = (
        along(gradient(value(name, Fitting(adjoint=adjoint, tol=1e-13)), given), by)
        for adjoint in (Implicit(), Unroll(400))
    )
    np.testing.assert_allclose(unrolled, implicit, rtol=2e-4, atol=1e-6)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_one_step_is_the_derivative_of_one_iteration(name):
    given = inputs(name)
    by = directions(given)
    run = value(name, Fitting(adjoint=OneStep(), tol=1e-14))
    found = along(gradient(run, given), by)
    answer = jax.jit(lambda given: call(name, given, FAR))(given)
    there = answer[-2] if name in ("density", "smoothed") else answer.codes if name == "clusters" else answer.queries
    one = lambda given: number(call(name, given, Fitting(steps=1), warm=there))  # noqa: E731
    np.testing.assert_allclose(found, along(gradient(one, given), by), rtol=1e-4, atol=1e-6)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_forward_mode_is_the_same(name):
    given = inputs(name)
    by = directions(given)
    run = value(name, Fitting(tol=1e-13))
    forward = jax.jit(jax.vmap(lambda b: jax.jvp(lambda at: run(at)[0], (given,), (b,))[1]))(by)
    np.testing.assert_allclose(forward, along(gradient(run, given), by), rtol=1e-5, atol=1e-7)


@slow
@pytest.mark.parametrize("name", INPUTS)
def test_without_a_prior_the_start_has_derivative_zero_at_convergence(name):
    given = inputs(name)
    found = gradient(value(name, Fitting(pseudo_count=None, tol=1e-13)), given)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(found["start"]))
    assert np.abs(np.asarray(found["x"])).max() > 1e-3
