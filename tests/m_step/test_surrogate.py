"""Q against the log-likelihood, at random points: Fisher's identity, and Q as a minorant."""

import jax
import numpy as np
import pytest

import jaxem
from jaxem.adjoint import em_map
from jaxem.engine.em import evaluate
from jaxem.engine.problem import Problem
from jaxem.engine.state import begin
from jaxem.m_step import Surrogate
from tests.helpers import engine

POINTS = 3


def quantities(case, accurate):
    """For pairs of points: Q and log-likelihood at both, their gradients at the first, and Q at the M-step."""
    model = case.model.bind(case.x, case.weights)
    model = model.accurate() or model if accurate else model
    algorithm = jaxem.em() if model.linear else jaxem.em_gradient()
    problem = Problem.make(model, algorithm, case.x, case.weights, tol=0.0, max_steps=1, chunk_rows=128)

    def value(params):
        expect = evaluate(problem, model.about(params), algorithm.e_step, params, ())
        return expect(case.x, case.weights, jax.random.key(0))

    @jax.jit
    @jax.vmap
    def compute(first, second):
        params = model.constrain(first)
        here = model.about(params)
        stats, _ = value(params)
        q = Surrogate(
            here, stats, params, algorithm.e_step, (), case.x, case.weights, jax.random.key(0), 128, problem.reduce
        )
        state = begin(problem, params, jax.random.key(0))
        best = em_map(problem, params, state)
        at = lambda free: q(here.constrain(free))  # noqa: E731
        log_likelihood = lambda free: value(model.constrain(free))[1]  # noqa: E731
        return {
            "grad": (jax.grad(at)(first), jax.grad(log_likelihood)(first)),
            "rise": (at(second) - at(first), log_likelihood(second) - log_likelihood(first)),
            "best": (q(best) - at(first), value(best)[1] - log_likelihood(first), q(best) - at(second)),
        }

    rng = np.random.default_rng(0)
    free = jax.tree.map(np.asarray, jax.jit(lambda p: model.unconstrain(model.encode(p)))(case.start))

    def near(scale):
        return jax.tree.map(lambda leaf: leaf + scale * rng.standard_normal((POINTS, *leaf.shape)), free)

    return jax.tree.map(np.asarray, compute(near(0.1), near(0.1)))


CASES = [
    pytest.param(name, accurate, marks=() if name in ("diagonal", "poisson", "function") else pytest.mark.slow)
    for name, accurate in [*((name, False) for name in engine.EVERY), ("full", True), ("poisson", True)]
]


@pytest.mark.parametrize(("name", "accurate"), CASES)
def test_q_is_a_minorant_that_touches_the_likelihood(name, accurate):
    case = engine.case(name)
    found = quantities(case, accurate)
    # Fisher: the gradient of Q at the point where the posterior was taken is that of the log-likelihood.
    engine.assert_same(*found["grad"], rtol=1e-8, atol=1e-8 * len(case.x))
    # Q rises by less than the log-likelihood: the difference is a Kullback-Leibler divergence.
    q, log_likelihood = found["rise"]
    assert np.all(q < log_likelihood)
    q, log_likelihood, over = found["best"]
    assert np.all(q > 0)
    assert np.all(q < log_likelihood)
    if case.model.linear:
        # The closed form is the maximum of Q.
        assert np.all(over > 0)
