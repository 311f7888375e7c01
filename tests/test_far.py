"""Rows so far away that the square of their distance overflows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxem

HALF = np.array([0.5, 0.5])
MEAN = np.array([[0.0, 0.0], [1.0, 1.0]])
NARROW_AND_WIDE = {
    "full": np.array([[[1.0, 0.5], [0.5, 1.0]], [[2.0, 0.0], [0.0, 2.0]]]),
    "diagonal": np.array([[1.0, 0.5], [2.0, 2.0]]),
    "spherical": np.array([1.0, 2.0]),
    "VEV": np.array([[[1.0, 0.5], [0.5, 1.0]], [[6.0, 0.0], [0.0, 2.0]]]),
}


def far(dtype):
    return 1e20 if dtype == "float32" else 1e200


def cells(dtype):
    """Models, parameters, rows of which the first is far away, and the component that it tends to."""
    big = far(dtype)
    x = np.array([[big, -big], [0.2, 0.1]])
    found = {
        name: (jaxem.GaussianMixture(2, name), jaxem.families.GaussianParams(MEAN, covariance), x, 1)
        for name, covariance in NARROW_AND_WIDE.items()
    }
    found["missing"] = (jaxem.GaussianMixture(2, missing=True), found["full"][1], np.array([[big, np.nan], x[1]]), 1)
    found["Student t"] = (
        jaxem.Mixture(jaxem.StudentT(), 2),
        jaxem.families.StudentTParams(MEAN, NARROW_AND_WIDE["full"], np.array([5.0, 2.0])),
        x,
        1,
    )
    loading = np.full((2, 2, 1), 0.5)
    found["factors"] = (
        jaxem.Mixture(jaxem.Factor(1), 2),
        jaxem.families.FactorParams(MEAN, loading, np.array([[1.0, 1.0], [2.0, 2.0]])),
        x,
        1,
    )
    covariates = np.array([[1.0, 1.0], [1.0, 2.0]])
    lines = np.array([[0.0, 1.0], [1.0, 2.0]])
    rows = jaxem.Responses(covariates, np.array([big, 1.0]))
    found["regression"] = (
        jaxem.Mixture(jaxem.LinearRegression(), 2),
        jaxem.families.RegressionParams(lines, np.array([1.0, 2.0])),
        rows,
        1,
    )
    found["t regression"] = (
        jaxem.Mixture(jaxem.families.TRegression(), 2),
        jaxem.families.TRegressionParams(lines, np.array([1.0, 1.0]), np.array([2.0, 5.0])),
        rows,
        0,
    )
    return found


@pytest.mark.parametrize("name", list(cells("float64")))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_component_that_a_far_row_tends_to(name, dtype):
    model, components, x, winner = cells(dtype)[name]
    as_type = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)  # noqa: E731
    params, x = as_type((jaxem.models.MixtureParams(HALF, components), x))
    near = jax.tree.map(lambda leaf: leaf[1:], x)
    asked = jax.jit(lambda params, x: (model.posterior(params, x), model.predict(params, x), model.log_prob(params, x)))
    posterior, predicted, value = jax.tree.map(np.asarray, asked(params, x))
    near_posterior, _, near_value = asked(params, near)
    assert_allclose(posterior[0], np.eye(2)[winner], atol=1e-6)
    assert_allclose(posterior[1:], near_posterior, rtol=1e-5)
    assert predicted[0] == winner
    assert np.isneginf(value[0])
    assert_allclose(value[1:], near_value, rtol=1e-5)
    nobody = params._replace(weights=jnp.asarray(np.eye(2)[1 - winner], dtype))
    assert_array_equal(asked(nobody, x)[0][0], np.eye(2)[1 - winner])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_components_that_are_not_told_apart_share_a_far_row(dtype):
    x = jnp.full((1, 2), far(dtype), dtype)
    components = jaxem.families.GaussianParams(jnp.asarray(MEAN, dtype), jnp.eye(2, dtype=dtype))
    params = jaxem.models.MixtureParams(jnp.asarray(HALF, dtype), components)
    assert_allclose(jaxem.GaussianMixture(2, "tied").posterior(params, x)[0], HALF)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_of_a_chain_that_is_far_away(dtype):
    model = jaxem.HMM(jaxem.Gaussian(), 2)
    emission = jaxem.families.GaussianParams(jnp.asarray(MEAN, dtype), jnp.asarray(NARROW_AND_WIDE["full"], dtype))
    moves = jnp.asarray([[0.9, 0.1], [0.1, 0.9]], dtype)
    params = jaxem.models.HMMParams(jnp.asarray(HALF, dtype), moves, emission)
    big = far(dtype)
    x = jnp.asarray([[[0.0, 0.0], [big, -big], [1.0, 1.0]]], dtype)
    asked = jax.jit(lambda params, x: (model.posterior(params, x), model.predict(params, x), model.log_prob(params, x)))
    states, predicted, value = jax.tree.map(np.asarray, asked(params, x))
    assert_allclose(states.sum(-1), 1, rtol=1e-5)
    assert_allclose(states[0, 1], [0, 1], rtol=1e-5)
    assert predicted[0, 1] == 1
    assert np.isneginf(value[0])


def test_distances_whose_squares_are_held_are_as_they_were():
    """A Student t has a finite log density at 1e15 in single precision."""
    params = jaxem.families.StudentTParams(jnp.zeros((1, 1)), jnp.ones((1, 1, 1)), jnp.full(1, 3.0))
    model = jaxem.Mixture(jaxem.StudentT(), 1)
    full = jaxem.models.MixtureParams(jnp.ones(1), params)
    single = jax.tree.map(lambda leaf: leaf.astype("float32"), full)
    x = np.array([[1e15]])
    found = model.log_prob(single, jnp.asarray(x, "float32"))
    assert_allclose(found, model.log_prob(full, jnp.asarray(x)), rtol=1e-5)
