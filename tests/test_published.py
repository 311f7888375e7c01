"""Published maxima, from random starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from tests.problems import london_times
from tests.published import (
    LONDON_TIMES_AFTER_1500,
    LONDON_TIMES_RATES,
    LONDON_TIMES_WEIGHT,
    MAXIMA,
)

# One of each kind in every run; the others are as long again and differ in little.
_ALWAYS = {"waiting-tied-2", "faithful-full-2", "iris-full-3", "iris-diagonal-3", "galaxies-full-4", "galaxies-tied-6"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=c.name, marks=() if c.name in _ALWAYS else pytest.mark.slow)
        for c in MAXIMA
        if "london" not in c.name
    ],
)
def test_the_best_of_random_starts_is_the_published_maximum(case):
    problem = case.problem()
    model = jaxem.GaussianMixture(len(problem.start.weights), problem.family.covariance)
    fit = jaxem.fit(model, problem.x, key=jax.random.key(0), restarts=64, tol=1e-11, max_steps=20_000)
    assert jaxem.status_name(fit.status) == "converged"
    assert abs(float(fit.log_likelihood) - case.log_likelihood) < max(1e-6, case.accuracy)
    best = np.asarray(fit.restarts.objective)[np.asarray(jaxem.status_name(fit.restarts.status)) == "converged"]
    assert best.max() <= float(fit.objective) + 1e-9


def london_start(problem):
    return jaxem.MixtureParams(problem.start.weights, jaxem.PoissonParams(problem.start.components[0]))


def test_london_times_from_random_starts():
    problem, (case,) = london_times(), [c for c in MAXIMA if "london" in c.name]
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    fit = jaxem.fit(
        model,
        problem.x,
        weights=problem.weights,
        key=jax.random.key(0),
        restarts=8,
        tol=1e-12,
        max_steps=20_000,
        termination=jaxem.termination.Aitken(),
    )
    assert abs(float(fit.log_likelihood) - case.log_likelihood) < 1e-6
    order = np.argsort(fit.params.components.rate[:, 0])
    np.testing.assert_allclose(fit.params.components.rate[order, 0], LONDON_TIMES_RATES, rtol=1e-3)
    np.testing.assert_allclose(fit.params.weights[order[0]], LONDON_TIMES_WEIGHT, rtol=1e-3)


def _london_times_until(condition):
    problem = london_times()
    model, data = jaxem.Mixture(jaxem.Poisson(), 2), np.asarray(problem.x, float)
    start, stop = london_start(problem), jaxem.termination.When(condition)

    @jax.jit
    def run(tol, max_steps):
        return jaxem.solve(
            model, start, data, weights=problem.weights, tol=tol, max_steps=max_steps, termination=stop, history_size=1
        )

    return run


def test_london_times_until_the_log_likelihood_stands_still():
    run = _london_times_until(lambda step, tol: abs(1096 * step.gain) < tol * (abs(step.objective) + 1))
    fit = run(1e-8, 1000)
    assert int(fit.num_steps) == 447
    np.testing.assert_allclose(fit.log_likelihood, -1989.948186528256, rtol=0, atol=1e-9)


def test_london_times_iterates():
    def change(step, tol):
        weight = step.params.weights[0] - step.previous.weights[0]
        rates = step.params.components.rate - step.previous.components.rate
        return jnp.sqrt(weight**2 + jnp.sum(rates**2)) < tol

    run = _london_times_until(change)
    after = run(0.0, 1500)
    value, weight, *rates = LONDON_TIMES_AFTER_1500
    assert int(after.num_steps) == 1500
    assert jaxem.status_name(after.status) == "max_steps_reached"
    np.testing.assert_allclose(after.log_likelihood, value, rtol=0, atol=2e-9)
    np.testing.assert_allclose(after.params.weights[0], weight, rtol=0, atol=1e-10)
    np.testing.assert_allclose(after.params.components.rate[:, 0], rates, rtol=0, atol=1e-10)
    assert int(run(1e-7, 10_000).num_steps) == 2113
