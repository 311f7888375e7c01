"""Derivatives of `solve` against finite differences and against long unrolling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxem
from jaxem.adjoint import Implicit, OneStep, Unroll
from jaxem.termination import FixedSteps
from tests.helpers import engine

pytestmark = pytest.mark.optimized

N = 24


@pytest.fixture(scope="module")
def inputs():
    """Two sets of data, weights and hyperparameters, stacked."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, N, 1)) + 1.5 * (np.arange(N) % 2)[:, None]
    prior = jaxem.priors.NormalInverseWishart(
        np.array([[0.7], [0.9]]), np.array([0.5, 0.3]), np.array([1.0, 1.5]), np.array([4.0, 5.0])
    )
    concentration = np.array([[2.0, 3.0], [4.0, 2.0]])
    stacked = {"x": x, "w": rng.uniform(0.5, 2.0, (2, N)), "prior": prior, "concentration": concentration}
    return jax.tree.map(jnp.asarray, stacked)


def build(frozen=()):
    def model(prior, concentration):
        return jaxem.GaussianMixture(
            2, "spherical", prior=prior, weights_prior=jaxem.priors.Dirichlet(concentration), frozen=frozen
        )

    return model


START = jaxem.models.MixtureParams(
    jnp.asarray([0.4, 0.6]), jaxem.families.GaussianParams(jnp.asarray([[0.0], [1.5]]), jnp.asarray([0.8, 1.2]))
)


def estimate(frozen=(), **options):
    """All parameters as one vector, as a function of everything the estimate depends on."""

    def run(inputs):
        model = build(frozen)(inputs["prior"], inputs["concentration"])
        # The objective is flat at a maximum: judged on it, a run stops long before the parameters stop moving.
        rest = {"termination": FixedSteps(), "max_steps": 2000, "history_size": 1} | options
        fit = jaxem.solve(model, START, inputs["x"], weights=inputs["w"], **rest)
        return ravel_pytree(fit.params)[0]

    return run


@pytest.fixture(scope="module")
def direction(inputs):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), inputs)


def forward(run):
    """Directional derivatives, in a batch."""
    return jax.jit(jax.vmap(lambda at, by: jax.jvp(run, (at,), (by,))[1]))


def lane(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


@pytest.fixture(scope="module")
def implicit(inputs, direction):
    return np.asarray(forward(estimate())(inputs, direction))


def differences(run, inputs, direction, step=1e-5):
    run = jax.jit(jax.vmap(run))
    up, down = (jax.tree.map(lambda a, b, s=s: a + s * step * b, inputs, direction) for s in (1, -1))
    return np.asarray(run(up) - run(down)) / (2 * step)


def test_implicit_is_the_limit_of_differences(inputs, direction, implicit):
    """With respect to data, weights and hyperparameters at once."""
    expected = differences(estimate(), inputs, direction)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(implicit, expected, rtol=1e-4, atol=1e-6)


def test_reverse_mode_is_the_transpose(inputs, direction, implicit):
    run = estimate()
    rows = jax.jit(jax.jacrev(run))(lane(inputs, 0))
    along = sum(
        np.tensordot(np.asarray(row), np.asarray(by), by.ndim)
        for row, by in zip(jax.tree.leaves(rows), jax.tree.leaves(lane(direction, 0)), strict=True)
    )
    np.testing.assert_allclose(along, implicit[0], rtol=1e-8)


@pytest.mark.slow
def test_unroll_to_convergence_is_implicit(inputs, direction, implicit):
    unrolled = forward(estimate(adjoint=Unroll(2000)))(inputs, direction)
    np.testing.assert_allclose(unrolled, implicit, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_unroll_is_exact_for_a_run_stopped_early(inputs, direction):
    run = estimate(adjoint=Unroll(4), max_steps=4)
    at, by = lane(inputs, 0), lane(direction, 0)
    gradient = jax.jit(jax.grad(lambda at: run(at).sum()))(at)
    along = sum(np.sum(g * b) for g, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(by), strict=True))
    expected = differences(run, jax.tree.map(lambda a: a[None], at), jax.tree.map(lambda b: b[None], by))
    np.testing.assert_allclose(along, expected.sum(), rtol=1e-6)


def test_one_step_lacks_what_the_iterations_carry_on(inputs, direction, implicit):
    """Its error is the derivative of the EM map along the exact answer: as large as the map contracts slowly."""
    short = np.asarray(forward(estimate(adjoint=OneStep()))(inputs, direction))[0]
    model = build()(lane(inputs["prior"], 0), inputs["concentration"][0])
    _, unravel = ravel_pytree(START)
    at = lane(inputs, 0)
    where = jax.jit(estimate())(at)

    @jax.jit
    @jax.vmap
    def one(vector):
        fit = jaxem.solve(model, unravel(vector), at["x"], weights=at["w"], max_steps=1, termination=FixedSteps())
        return ravel_pytree(fit.params)[0]

    up, down = np.asarray(one(where[None] + 1e-5 * np.stack([implicit[0], -implicit[0]])))
    carried = (up - down) / 2e-5
    np.testing.assert_allclose(short + carried, implicit[0], rtol=1e-5, atol=1e-7)
    assert 0.01 < np.linalg.norm(carried) < np.linalg.norm(implicit[0])


def test_frozen_parameters_have_derivative_zero(inputs, direction):
    run = estimate(frozen=("components.mean",))
    found = np.asarray(forward(run)(inputs, direction))
    np.testing.assert_allclose(found, differences(run, inputs, direction), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found[:, 2:4], 0.0)
    assert np.all(np.abs(found[:, [0, 1, 4, 5]]) > 1e-3)


@pytest.mark.slow
def test_em_gradient_has_the_derivatives_of_em(inputs, direction, implicit):
    """Both have the same fixed points."""
    found = forward(estimate(algorithm=jaxem.em_gradient()))(inputs, direction)
    np.testing.assert_allclose(found, implicit, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_an_iterative_solver(inputs, direction, implicit):
    found = forward(estimate(adjoint=Implicit(dense_limit=0)))(inputs, direction)
    np.testing.assert_allclose(found, implicit, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_full_covariances_and_the_log_likelihood():
    """At a maximum the log-likelihood depends on the data through the density alone."""
    case = engine.case("full")
    x = case.x[:60]

    @eqx.filter_jit
    def both(x):
        def value(x):
            return jaxem.solve(case.model, case.start, x, tol=1e-14, max_steps=4000, history_size=1).log_likelihood

        fit = jaxem.solve(case.model, case.start, x, tol=1e-14, max_steps=4000, history_size=1)
        fixed = jax.grad(lambda x: case.model.log_likelihood(jax.lax.stop_gradient(fit.params), x))(x)
        return jax.grad(value)(x), fixed, fit.status

    total, direct, status = both(x)
    assert jaxem.status_name(status) == "converged"
    np.testing.assert_allclose(total, direct, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dense_limit", [1000, 0])
@pytest.mark.parametrize("rule", [jaxem.em, jaxem.em_gradient])
def test_where_there_is_no_implicit_derivative_it_is_that_of_one_step(inputs, direction, rule, dense_limit):
    """In each lane of a batch by itself, forward and in reverse."""
    steps = jnp.asarray([400, 2])

    def both(adjoint):
        def one(at, by, steps):
            run = estimate(adjoint=adjoint, algorithm=rule(), max_steps=steps)
            slope = jax.grad(lambda at: jnp.sum(run(at)))(at)
            return jax.jvp(run, (at,), (by,))[1], ravel_pytree(slope)[0]

        return [np.asarray(a) for a in jax.jit(jax.vmap(one))(inputs, direction, steps)]

    found = both(Implicit(unconverged="one_step", dense_limit=dense_limit))
    exact, short = both(Implicit(dense_limit=dense_limit)), both(OneStep())
    for a, b, c in zip(found, exact, short, strict=True):
        assert np.isfinite(a).all()
        assert np.isnan(b[1]).any()
        np.testing.assert_allclose(a[0], b[0], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(a[1], c[1], rtol=1e-4, atol=1e-6)
