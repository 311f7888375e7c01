"""Published maxima, from random starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from tests.helpers import engine, published_regressions
from tests.helpers.problems import galaxies, london_times
from tests.helpers.published import (
    BIC,
    LONDON_TIMES_AFTER_1500,
    LONDON_TIMES_ERRORS,
    LONDON_TIMES_INFORMATION,
    LONDON_TIMES_OTHER_START,
    LONDON_TIMES_RATES,
    LONDON_TIMES_WEIGHT,
    MAXIMA,
    OLD_FAITHFUL,
)

pytestmark = pytest.mark.optimized

# One of each kind in every run; the others are as long again and differ in little.
_ALWAYS = {"waiting-tied-2", "faithful-full-2", "iris-diagonal-3", "iris-VEV-3", "galaxies-tied-6"}


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
    if case.name in BIC:
        np.testing.assert_allclose(jaxem.bic(model, fit.params, problem.x), -BIC[case.name], atol=1e-5)
    best = np.asarray(fit.restarts.objective)[np.asarray(jaxem.status_name(fit.restarts.status)) == "converged"]
    assert best.max() <= float(fit.objective) + 1e-9


@pytest.mark.slow
def test_a_published_maximum_of_galaxies_is_a_local_one():
    """Of four normal distributions; McLachlan and Peel (2000) have -202.52, where most starts end."""
    x = galaxies(corrected=True).x
    fit = jaxem.fit(jaxem.GaussianMixture(4), x, key=jax.random.key(0), restarts=64, tol=1e-11, max_steps=20_000)
    found = np.asarray(fit.restarts.objective)
    assert np.sum(np.abs(found + 202.5161) < 5e-5) > 32
    assert abs(found.max() + 197.71031124) < 1e-6


def london_start(problem):
    return jaxem.models.MixtureParams(problem.start.weights, jaxem.families.PoissonParams(problem.start.components[0]))


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
    stop = jaxem.termination.When(condition)

    @jax.jit
    def run(tol, max_steps, start):
        return jaxem.solve(
            model, start, data, weights=problem.weights, tol=tol, max_steps=max_steps, termination=stop, history_size=1
        )

    return lambda tol, max_steps, start=(0.5, 1.0, 3.0): run(tol, max_steps, london_start(london_times(start=start)))


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
    other = run(0.0, 1500, (0.9, 1.0, 3.0))
    np.testing.assert_allclose(other.log_likelihood, LONDON_TIMES_OTHER_START, rtol=0, atol=2e-9)


def test_london_times_information():
    """The observed information at the maximum, and standard errors; and a single rate."""
    problem = london_times()
    x, w = jnp.asarray(problem.x, float), jnp.asarray(problem.weights)
    model = jaxem.Mixture(jaxem.Poisson(), 2)

    def log_likelihood(theta):
        share = jnp.stack([theta[0], 1 - theta[0]])
        return model.log_likelihood(
            jaxem.models.MixtureParams(share, jaxem.families.PoissonParams(theta[1:, None])), x, w
        )

    theta = jnp.array([LONDON_TIMES_WEIGHT, *LONDON_TIMES_RATES])
    np.testing.assert_allclose(log_likelihood(theta), -1989.9458598829642, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.grad(log_likelihood))(theta), 0, atol=1e-8)
    information = -np.asarray(jax.jit(jax.hessian(log_likelihood))(theta))
    np.testing.assert_allclose(information[np.triu_indices(3)], LONDON_TIMES_INFORMATION, rtol=0, atol=6e-6)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(errors, LONDON_TIMES_ERRORS, rtol=0, atol=1e-10)
    single = jaxem.Single(jaxem.Poisson()).log_likelihood(
        jaxem.families.PoissonParams(jnp.array([2.156934306569343])), x, w
    )
    np.testing.assert_allclose(single, -2001.397847371757, rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in MAXIMA if c.name in OLD_FAITHFUL], ids=lambda c: c.name)
def test_estimates_of_old_faithful(case):
    problem, (share, means, deviations) = case.problem(), OLD_FAITHFUL[case.name]
    model, x = jaxem.GaussianMixture(2, problem.family.covariance), np.asarray(problem.x)
    near = jaxem.solve(model, engine.params(problem.start), x, tol=1e-8).params
    fit = jaxem.solve(model, near, x, algorithm=jaxem.algorithms.newton(), tol=1e-14)
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, case.log_likelihood, atol=case.accuracy)
    np.testing.assert_allclose(fit.params.weights[0], share, atol=1e-8)
    np.testing.assert_allclose(fit.params.components.mean, means, atol=6e-6 if x.shape[1] == 2 else 1e-7)
    if deviations is not None:
        found = np.sqrt(np.ravel(fit.params.components.covariance))
        np.testing.assert_allclose(found, deviations, atol=1e-7)


# Latent classes


def classes(k, tol, **start):
    """Patterns, their counts, a model and its fit."""
    patterns, counts = published_regressions.carcinoma()
    model = jaxem.Mixture(jaxem.Bernoulli(), k)
    options = {"weights": counts, "key": jax.random.key(0), "tol": tol, "max_steps": 20_000}
    return patterns, counts, model, jaxem.fit(model, patterns, **start, **options)


@pytest.mark.parametrize("k", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow)])
def test_latent_classes_of_carcinoma_from_random_starts(k):
    patterns, counts, model, fit = classes(k, 1e-15, restarts=32)
    expected = published_regressions.CARCINOMA[k]
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, expected.log_likelihood, atol=1e-6)
    np.testing.assert_allclose(jaxem.aic(model, fit.params, patterns, counts), expected.aic, atol=6e-5)
    np.testing.assert_allclose(jaxem.bic(model, fit.params, patterns, counts), expected.bic, atol=6e-5)
    if expected.deviance is not None:
        frequencies = 118 * np.exp(model.log_prob(fit.params, patterns))
        deviance = 2 * np.sum(counts * np.log(counts / frequencies))
        # Patterns that no slide has count with their frequency.
        chi_squared = np.sum((counts - frequencies) ** 2 / frequencies) + 118 - frequencies.sum()
        np.testing.assert_allclose([deviance, chi_squared], [expected.deviance, expected.chi_squared], atol=6e-6)
    if k == 3:
        np.testing.assert_allclose(np.sort(fit.params.weights), published_regressions.CARCINOMA_SHARES, atol=6e-5)


@pytest.mark.slow
def test_local_maxima_of_four_latent_classes():
    probability = np.random.default_rng(0).uniform(size=(300, 4, 7))
    starts = jaxem.models.MixtureParams(np.full((300, 4), 0.25), jaxem.families.BernoulliParams(probability))
    *_, fit = classes(4, 1e-12, init=starts)
    found = np.asarray(fit.restarts.objective)
    assert (np.asarray(jaxem.status_name(fit.restarts.status)) == "converged").all()
    np.testing.assert_allclose(found.max(), published_regressions.CARCINOMA[4].log_likelihood, atol=1e-6)
    for local in published_regressions.CARCINOMA_LOCAL_MAXIMA:
        assert np.sum(np.abs(found - local) < 6e-5) >= 3
