"""Derivatives where the equation is singular, where a run stopped early, and where there is no equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxem
from jaxem.adjoint import Implicit
from jaxem.termination import FixedSteps

PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
N = 30


def rows(dtype):
    return jnp.asarray(np.random.default_rng(0).standard_normal((N, 1)), dtype)


def start(weights, means, dtype):
    components = jaxem.families.GaussianParams(jnp.asarray(means, dtype)[:, None], jnp.ones((2, 1), dtype))
    return jaxem.models.MixtureParams(jnp.asarray(weights, dtype), components)


def solved(begin, x, tol=None, model=None, **options):
    tol = tol or (1e-13 if x.dtype == jnp.float64 else 1e-7)
    model = model or jaxem.GaussianMixture(2, "diagonal")
    return jaxem.solve(model, begin, x, tol=tol, history_size=1, **options).params


def both_ways(run, x):
    """The Jacobian of a vector in the data, `[p, n]`, forward and in reverse."""
    forward, reverse = jax.jit(lambda x: (jax.jacfwd(run)(x), jax.jacrev(run)(x)))(x)
    return np.asarray(forward)[..., 0], np.asarray(reverse)[..., 0]


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_beside_an_empty_component_the_other_has_derivatives(dtype):
    x = rows(dtype)
    tight = 1e-6 if dtype == np.float32 else 1e-12
    for unidentified in ("minimum_norm", "nan"):
        adjoint = Implicit(unidentified=unidentified)

        def run(x, adjoint=adjoint):
            return ravel_pytree(solved(start([0.0, 1.0], [5.0, 0.0], dtype), x, adjoint=adjoint))[0]

        for found in both_ways(run, x):
            _, _, lost, mean, lost_too, variance = found
            np.testing.assert_allclose(mean, 1 / N, rtol=100 * tight)
            np.testing.assert_allclose(variance, 2 * np.asarray(x - x.mean())[:, 0] / N, atol=tight)
            for row in (lost, lost_too):
                assert np.all(np.isnan(row)) if unidentified == "nan" else np.all(row == 0)


@pytest.mark.optimized
@PRECISIONS
def test_equal_members_move_together(dtype):
    x = rows(dtype)
    for found in both_ways(lambda x: solved(start([0.3, 0.7], [0.5, 0.5], dtype), x).components.mean[:, 0], x):
        np.testing.assert_allclose(found, 1 / N, rtol=1e-3 if dtype == np.float32 else 1e-9)


@pytest.mark.slow
@PRECISIONS
def test_a_rotation_leaves_what_it_does_not_turn(dtype):
    """Loadings of two factors are known up to a rotation; their products are not affected."""
    rng = np.random.default_rng(1)
    y = rng.standard_normal((100, 2)) @ rng.standard_normal((2, 5)) + 0.5 * rng.standard_normal((100, 5))
    y, by = jnp.asarray(y, dtype), jnp.asarray(rng.standard_normal(y.shape), dtype)
    model = jaxem.FactorAnalysis(2)
    begin = model.init(jax.random.key(0), y, jnp.ones(100, dtype))

    def run(y):
        params = solved(begin, y, model=model, max_steps=5000)
        return params.loading @ params.loading.T, params.noise_variance, params.loading

    step = 1e-4 if dtype == np.float64 else 1e-2
    found = jax.jit(lambda y: jax.jvp(run, (y,), (by,))[1])(y)
    high, low = (jax.jit(run)(y + sign * jnp.asarray(step, dtype) * by) for sign in (1, -1))
    for i in range(2):
        expected = np.asarray(high[i] - low[i]) / (2 * step)
        np.testing.assert_allclose(
            found[i], expected, atol=(1e-5 if dtype == np.float64 else 2e-2) * abs(expected).max()
        )
    assert np.all(np.isfinite(found[2]))


def log_joint(params, x, z):
    """Only the sum of `a` and `b` is determined by the data; `z` does nothing."""
    return -((x - params["a"] - params["b"]) ** 2) / 2 + 0.0 * z.astype(x.dtype)


def test_the_smallest_change_is_shared_equally():
    x, zero = rows(np.float64)[:, 0], {"a": jnp.array(0.3), "b": jnp.array(-0.2)}
    model = jaxem.FunctionModel(log_joint, 2, zero)

    def run(x, unidentified):
        fit = jaxem.solve(model, zero, x, tol=1e-13, adjoint=Implicit(unidentified=unidentified))
        return jnp.stack([fit.params["a"], fit.params["b"]])

    for mode in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(mode(lambda x: run(x, "minimum_norm")))(x), 0.5 / N, rtol=1e-8)
        assert np.all(np.isnan(jax.jit(mode(lambda x: run(x, "nan")))(x)))


def test_with_everything_frozen_nothing_moves():
    x = rows(np.float64)
    model = jaxem.GaussianMixture(2, "diagonal", frozen=("weights", "components"))
    run = jax.jit(jax.grad(lambda x: jnp.sum(solved(start([0.5, 0.5], [-1.0, 1.0], np.float64), x, model=model)[0])))
    np.testing.assert_array_equal(run(x), 0)


def overlapping(x, **options):
    return solved(start([0.5, 0.5], [-1.0, 1.5], x.dtype), x, **options).components.mean[0, 0]


@pytest.mark.parametrize(
    "mode", [pytest.param(jax.jacfwd, marks=pytest.mark.slow), jax.jacrev], ids=["forward", "reverse"]
)
def test_a_run_that_stopped_early_says_so(mode):
    """By where it stopped, not by its status: `completed` may be far from a fixed point, or at one."""
    x = jnp.concatenate([rows(np.float64), rows(np.float64) + 3])

    def slope(steps, **options):
        return jax.jit(
            mode(lambda x: overlapping(x, termination=FixedSteps(), max_steps=steps, adjoint=Implicit(**options)))
        )(x)

    early, late = slope(3), slope(3000)
    assert np.all(np.isnan(early))
    assert np.all(np.isfinite(late))
    assert np.all(np.isfinite(slope(3, unconverged="as_is")))


@pytest.mark.optimized
def test_the_default_tolerance_is_enough():
    """What is left to the fixed point counts only squared."""
    x = jnp.concatenate([rows(np.float64), rows(np.float64) + 3])
    loose, tight = (jax.jit(jax.grad(lambda x, tol=tol: overlapping(x, tol=tol)))(x) for tol in (1e-6, 1e-14))
    np.testing.assert_allclose(loose, tight, rtol=0, atol=1e-3 * np.abs(tight).max())


@pytest.mark.parametrize("algorithm", [jaxem.stochastic_em(), jaxem.saem(), jaxem.stepwise_em(rows=10)])
def test_without_an_equation_there_is_an_error(algorithm):
    x = rows(np.float64)
    with pytest.raises(jaxem.MissingCapabilityError, match="a fit has derivatives where it is the fixed point"):
        jax.eval_shape(jax.grad(lambda x: overlapping(x, algorithm=algorithm)), x)


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="unidentified must be 'minimum_norm' or 'nan', got 'zero'"):
        Implicit(unidentified="zero")
    with pytest.raises(ValueError, match="unconverged must be"):
        Implicit(unconverged="ignore")


def test_the_influence_of_an_absent_row():
    """The derivative in a weight of 0 is the limit from above."""
    x = jnp.concatenate([rows(np.float64), rows(np.float64) + 3])
    weights, step = jnp.ones(2 * N).at[4].set(0.0), 1e-6
    run = jax.jit(lambda weights: overlapping(x, weights=weights, tol=1e-14))
    found = jax.jit(jax.grad(run))(weights)[4]
    expected = (run(weights.at[4].set(step)) - run(weights)) / step
    assert abs(expected) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3)
