"""E rules: the statistics they lead to are sums over the posterior that the oracles enumerate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.engine.em import evaluate
from jaxem.engine.problem import Problem
from tests.helpers import engine, oracles


@pytest.fixture(scope="module")
def case():
    return engine.case("poisson")


def collect(case, rule, weights):
    """Statistics and value at the start, in chunks of 64 rows."""
    problem = Problem.make(
        case.model.bound(), jaxem.Algorithm(e_step=rule), case.x, weights, tol=0.0, max_steps=1, chunk_rows=64
    )

    @jax.jit
    def run(params, weights):
        expect = evaluate(problem, problem.model, rule, params, ())
        return expect(case.x, weights, jax.random.key(0))

    stats, value = run(case.start, weights)
    return stats, value + problem.base


@pytest.mark.parametrize("hard", [False, True])
def test_statistics_are_expectations(case, hard):
    rule = jaxem.e_step.Mode() if hard else jaxem.e_step.Expectation()
    weights = jnp.asarray(np.random.default_rng(0).integers(0, 3, len(case.x)).astype(float))
    stats, value = collect(case, rule, weights)
    x, w = np.asarray(case.x), np.asarray(weights)
    joint = oracles.log_joint(case.oracle.family, case.oracle.start, x)
    if hard:
        r, expected = np.eye(3)[joint.argmax(1)], joint.max(1)
    else:
        r, expected = oracles.posterior(case.oracle.family, case.oracle.start, x), np.logaddexp.reduce(joint, 1)
    np.testing.assert_allclose(stats.log_weights, w @ r, rtol=1e-12)
    np.testing.assert_allclose(stats.components.log_rate, (w[:, None] * r).T @ x, rtol=1e-10)
    np.testing.assert_allclose(value, w @ expected, rtol=1e-12)


def test_the_mode_is_the_limit_of_sharp_posteriors(case):
    potentials = jnp.asarray([[0.0, 3.0], [1.0, 2.0]])
    mode, top = jaxem.e_step.Mode().posterior(case.model, potentials, (), None, jax.random.key(0))
    sharp, value = jaxem.e_step.Expectation().posterior(case.model, 1e3 * potentials, (), None, jax.random.key(0))
    np.testing.assert_allclose(mode, sharp, atol=1e-12)
    np.testing.assert_allclose(top, value / 1e3, rtol=1e-12)
