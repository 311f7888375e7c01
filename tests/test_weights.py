"""Weights as a precision holds them, and rows of weight 0 that hold anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxem
from jaxem._algorithm import default_algorithm
from jaxem.engine.door import without_absent, without_unusable
from jaxem.engine.weights import held
from tests.helpers import product


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.0], [1e-6, 1e6], [1e-30, 1.0]])
def test_ordinary_weights_are_taken_as_they_are(weights, dtype):
    values, unit = held(np.array(weights), dtype)
    assert unit == 1
    assert values.dtype == dtype
    assert_array_equal(values, np.asarray(weights, dtype))


@pytest.mark.parametrize(
    "weights", [[1e-50, 3e-50, 0.0], [1e-44, 2e-38], [1e-50, 1.0], [1e-300, 3e-300], [1e60, 2e60], [1e-39]]
)
def test_weights_out_of_range_are_held_in_another_unit(weights):
    values, unit = held(np.array(weights), np.float32)
    assert np.log2(unit) % 1 == 0
    assert_allclose(values.astype(float) * unit, weights, rtol=1e-6)
    assert values[np.array(weights) > 0].min() >= np.finfo(np.float32).tiny


def test_subnormal_numbers_of_single_precision_keep_their_digits():
    weights = np.array([1e-40, 3e-41], np.float32)
    values, unit = held(weights, np.float32)
    assert_array_equal(values.astype(float) * unit, weights.astype(float))


def test_weights_that_cannot_be_held_are_refused():
    with pytest.raises(jaxem.DataError, match=r"row 1 has weight 1e-200 beside 1, which float32 cannot hold"):
        held(np.array([1.0, 1e-200]), np.float32)
    with pytest.raises(jaxem.DataError, match=r"row 0 has weight 1e-50.*not rescaled here"):
        held(np.array([1e-50, 2e-50]), np.float32, rescale=False)
    assert held(np.array([1e-30, 2e-30]), np.float32, rescale=False).unit == 1


def test_data_without_rows_of_weight_zero_are_not_copied():
    x = np.ones((3, 2))
    assert without_absent(x, np.ones(3)) is x
    assert without_absent(x, None) is x


@pytest.mark.parametrize("wild", [1e30, np.nan, -np.inf])
def test_wild_rows_of_weight_zero_become_copies_of_another(wild):
    model, rows = jaxem.GaussianMixture(2), jnp.asarray([[1.0, wild], [2.0, 3.0], [4.0, 5.0]], jnp.float32)
    found = without_unusable(model, rows, jnp.array([0, 0, 1], jnp.float32))
    assert_array_equal(found, [[4, 5], [2, 3], [4, 5]])
    assert_array_equal(without_absent(np.asarray(rows), np.array([0, 0, 1])), [[4, 5]] * 3)
    assert_array_equal(without_unusable(model, rows, jnp.array([1, 0, 1], jnp.float32)), rows)


def test_missing_entries_of_rows_of_weight_zero_stay():
    model = jaxem.GaussianMixture(2, missing=True)
    rows = jnp.array([[1.0, jnp.nan], [2.0, 3.0], [jnp.inf, 5.0]])
    assert_array_equal(without_unusable(model, rows, jnp.array([0.0, 1.0, 0.0]))[:2], rows[:2])


def test_tiny_weights_are_not_lost():
    """In single precision weights of 1e-50 are 0; what maximises the likelihood does not depend on their scale."""
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    weights = np.random.default_rng(1).uniform(0.5, 2, 40)
    model, key = jaxem.GaussianMixture(2), jax.random.key(0)
    want = jaxem.fit(model, x, key=key, weights=weights)
    for scale in (2.0**-166, 2.0**100):
        got = jaxem.fit(model, x, key=key, weights=scale * weights)
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), got.params, want.params)
    assert_allclose(got.log_likelihood / 2.0**100, want.log_likelihood, rtol=1e-5)
    assert_allclose(got.restarts.objective / 2.0**100, want.restarts.objective, rtol=1e-5)
    with pytest.raises(jaxem.DataError, match="not rescaled here"):
        jaxem.fit(
            jaxem.GaussianMixture(2, weights_prior=jaxem.priors.Dirichlet(2.0)), x, key=key, weights=1e-50 * weights
        )
    with pytest.raises(jaxem.DataError, match="float32 cannot hold"):
        model.log_likelihood(want.params, x, 1e-50 * weights)


def wildly(leaf, absent, value):
    """Rows of weight 0 with entries as large as can be."""
    if leaf is None or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    signs = jnp.asarray(np.random.default_rng(3).choice([-1.0, 1.0], leaf.shape), leaf.dtype)
    return jnp.where(absent.reshape(-1, *[1] * (leaf.ndim - 1)), signs * value, leaf)


QUICK = {"full", "poisson", "bernoulli", "function", "missing", "regressions"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in product.models() if "priors" not in n],
)
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_rows_of_weight_zero_are_no_rows(name, dtype):
    """Whatever they hold, three iterations from the same start end at the same parameters without them.

    Where latents are drawn, each row has draws of its own: they hold something else instead of being absent.
    """
    cell = product.models()[name]
    start, x = jax.tree.map(
        lambda a: jnp.asarray(a, dtype) if jnp.issubdtype(a.dtype, jnp.floating) else jnp.asarray(a),
        (cell.start, cell.x),
    )
    n = len(cell.weights)
    absent = np.arange(n) % 5 == 1
    weights = jnp.asarray(np.where(absent, 0, 1 + np.arange(n) % 2), dtype)
    huge = 1e30 if dtype == "float32" else 1e200
    wild = jax.tree.map(lambda leaf: wildly(leaf, jnp.asarray(absent), huge), x)
    without = jax.tree.map(lambda leaf: leaf[~absent], x)

    def run(rows, w):
        fit = jaxem.solve(cell.model, start, rows, weights=w, max_steps=3, tol=0.0)
        return fit.params, fit.log_likelihood

    found = jax.jit(run)(wild, weights)
    same_draws = default_algorithm(cell.model).draws
    right = jax.jit(run)(x, weights) if same_draws else jax.jit(run)(without, weights[~absent])
    tol = 1e-3 if dtype == "float32" else 1e-7
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=tol, atol=tol), found, right)


@pytest.mark.parametrize("unit", [2.0**-110, 2.0**-60, 2.0**60])
@pytest.mark.parametrize("name", ["gaussian", "Student t", "regression", "t regression"])
def test_frames_do_not_depend_on_the_unit_of_the_weights(name, unit):
    """In single precision, where such a weight times the square of a small number is 0."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(1e-6 * rng.normal(size=(20, 2)), "float32")
    w = jnp.asarray(rng.integers(1, 4, 20), "float32")
    lines = jaxem.Responses(x, x[:, 0] + 3 * x[:, 1] + jnp.abs(x[:, 1]))
    family, rows = {
        "gaussian": (jaxem.Gaussian(), x),
        "Student t": (jaxem.StudentT(), x),
        "regression": (jaxem.LinearRegression(), lines),
        "t regression": (jaxem.families.TRegression(), lines),
    }[name]

    def frame(weights):
        return jax.tree.leaves(family.bind(rows, weights, lambda tree: tree))

    for found, right in zip(jax.jit(frame)(unit * w), jax.jit(frame)(w), strict=True):
        assert_array_equal(found, right)
