"""A multivariate normal with missing entries, against closed forms, SciPy, and the distribution of what is missing."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.stats import multivariate_normal

import jaxem
from tests.helpers import engine

# Apples: the size of the crop (hundreds of fruits), and the percentage that is wormy, not counted on six trees.
# Cochran and Snedecor, as in Little and Rubin (1987), table 6.4
SIZE = (8, 6, 11, 22, 14, 17, 18, 24, 19, 23, 26, 40, 4, 4, 5, 6, 8, 10)
WORMS = (59, 58, 56, 53, 50, 45, 43, 42, 39, 38, 30, 27)
MODEL = jaxem.models.MultivariateNormal(missing=True)


def apples():
    return np.array([SIZE, WORMS + (np.nan,) * 6], float).T


def normal(mean, covariance, dtype="float64"):
    return jaxem.families.GaussianParams(jnp.asarray(mean, dtype), jnp.asarray(covariance, dtype))


def start(x):
    return normal(np.nanmean(x, 0), np.diag(np.nanvar(x, 0)))


def log_likelihood(mean, covariance, x):
    total = 0.0
    for row in x:
        o = ~np.isnan(row)
        total += multivariate_normal.logpdf(row[o], mean[o], covariance[np.ix_(o, o)]) if o.any() else 0.0
    return total


@lru_cache
def fitted():
    x = apples()
    return engine.solve(MODEL, start(x), jnp.asarray(x), tol=1e-16)


def anderson(x):
    """The maximum in closed form where the second column alone has entries missing (Anderson 1957)."""
    both = x[~np.isnan(x[:, 1])]
    mean, variance = x[:, 0].mean(), x[:, 0].var()
    part = np.cov(both.T, bias=True)
    slope = part[0, 1] / part[0, 0]
    second = both[:, 1].mean() + slope * (mean - both[:, 0].mean())
    residual = part[1, 1] - slope * part[0, 1]
    return np.array([mean, second]), np.array(
        [[variance, slope * variance], [slope * variance, residual + slope**2 * variance]]
    )


def test_apples_reach_the_closed_form_and_the_published_figures():
    fit, (mean, covariance) = fitted(), anderson(apples())
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-12
    np.testing.assert_allclose(fit.params.mean, mean, rtol=1e-7)
    np.testing.assert_allclose(fit.params.covariance, covariance, rtol=1e-6)
    np.testing.assert_allclose(fit.params.mean, [14.722222, 49.333333], atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(fit.params.covariance)[[0, 0, 1], [0, 1, 1]], [89.53395, -90.69673, 114.69496], atol=2e-5
    )
    np.testing.assert_allclose(fit.log_likelihood, -101.78563213, atol=5e-9)
    np.testing.assert_allclose(-2 * fit.log_likelihood - 30 * np.log(2 * np.pi), 148.434952, atol=1e-6)


@pytest.mark.slow
def test_its_fraction_of_missing_information_is_the_rate_of_its_iterates():
    x, fit = jnp.asarray(apples()), fitted()
    eigenvalues = jaxem.information.rate_eigenvalues(MODEL, fit.params, x)
    assert eigenvalues.shape == (5,)
    a, b, c = (engine.solve(MODEL, start(apples()), x, tol=0.0, max_steps=i).params for i in (10, 11, 12))
    steps = [np.asarray(p.mean - q.mean)[1] for p, q in ((b, a), (c, b))]
    np.testing.assert_allclose(eigenvalues[0], steps[1] / steps[0], rtol=1e-4)
    # Of mean and variance of the first column everything is known.
    np.testing.assert_allclose(eigenvalues[3:], 0, atol=1e-10)


def test_missing_entries_are_imputed_by_regression():
    x, params = apples(), fitted().params
    filled = np.asarray(MODEL.impute(params, jnp.asarray(x)))
    np.testing.assert_array_equal(filled[:12], x[:12])
    np.testing.assert_array_equal(filled[:, 0], x[:, 0])
    mean, covariance = np.asarray(params.mean), np.asarray(params.covariance)
    slope = covariance[0, 1] / covariance[0, 0]
    np.testing.assert_allclose(filled[12:, 1], mean[1] + slope * (x[12:, 0] - mean[0]), rtol=1e-12)
    draws = np.asarray(MODEL.impute(params, jnp.asarray(x), key=jax.random.key(1), num_draws=4000))
    assert draws.shape == (4000, *x.shape)
    np.testing.assert_array_equal(draws[:, :12], np.broadcast_to(x[:12], (4000, 12, 2)))
    sd = np.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    np.testing.assert_allclose(draws[:, 12:, 1].mean(0), filled[12:, 1], atol=4.5 * sd / np.sqrt(4000))
    np.testing.assert_allclose(draws[:, 12:, 1].std(0), sd, rtol=4.5 / np.sqrt(8000))
    assert abs(np.corrcoef(draws[:, 12:, 1].T) - np.eye(6)).max() < 0.08


@pytest.mark.slow
def test_one_column_and_rows_without_any_entry():
    x = np.array([[1.0], [np.nan], [4.0], [np.nan], [7.0]])
    fit = engine.solve(MODEL, normal([0.0], [[1.0]]), jnp.asarray(x), tol=1e-15)
    np.testing.assert_allclose([fit.params.mean[0], fit.params.covariance[0, 0]], [4.0, 6.0], rtol=1e-12)
    # Rows of which nothing is known slow nothing down.
    assert fit.num_steps <= 2
    np.testing.assert_allclose(MODEL.impute(fit.params, jnp.asarray(x))[:, 0], [1, 4, 4, 4, 7], rtol=1e-12)


@lru_cache
def scattered():
    rng = np.random.default_rng(41)
    factor = rng.normal(size=(3, 3))
    x = rng.normal(size=(40, 3)) @ factor.T + [5.0, -2.0, 0.0]
    x[rng.random(x.shape) < 0.25] = np.nan
    x[7] = np.nan
    return x


@pytest.mark.slow
def test_the_maximum_is_that_of_scipy():
    x = scattered()
    fit = engine.solve(MODEL, start(x), jnp.asarray(x), tol=1e-14)
    lower = np.tril_indices(3)

    def parts(v):
        factor = np.zeros((3, 3))
        factor[lower] = v[3:]
        return v[:3], factor @ factor.T

    begin = np.concatenate([np.nanmean(x, 0), np.diag(np.nanstd(x, 0))[lower]])
    found = optimize.minimize(lambda v: -log_likelihood(*parts(v), x), begin, method="BFGS", options={"gtol": 1e-4})
    mean, covariance = parts(found.x)
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, rtol=1e-9)
    np.testing.assert_allclose(fit.params.mean, mean, atol=2e-4)
    np.testing.assert_allclose(fit.params.covariance, covariance, atol=5e-4)


@pytest.mark.slow
def test_float32_with_an_offset_finds_the_same():
    x = apples() + 1e4
    single = jaxem.fit(MODEL, x.astype(np.float32), key=jax.random.key(0), tol=1e-7)
    assert jaxem.status_name(single.status) == "converged"
    assert single.params.mean.dtype == jnp.float32
    np.testing.assert_allclose(single.params.mean - 1e4, fitted().params.mean, atol=0.02)
    np.testing.assert_allclose(single.params.covariance, fitted().params.covariance, rtol=2e-3)


@pytest.mark.slow
def test_two_columns_that_nearly_agree_in_float32():
    """A correlation of 1 - 1e-5: what single precision can tell of it, or a status that says that it cannot."""
    rng = np.random.default_rng(43)
    x = rng.normal(size=(200, 1)) + np.array([0.0, 4e-3]) * rng.normal(size=(200, 1))
    x = x.astype(np.float32).astype(float)
    x[150:, 1] = np.nan
    mean, covariance = anderson(x)
    fit = jaxem.fit(MODEL, x.astype(np.float32), key=jax.random.key(0), tol=1e-7)
    assert jaxem.status_name(fit.status) == "converged"
    contrast = np.array([-1.0, 1.0])
    np.testing.assert_allclose(fit.params.mean, mean, atol=1e-4)
    spread = contrast @ np.asarray(fit.params.covariance, float) @ contrast
    np.testing.assert_allclose(spread, contrast @ covariance @ contrast, rtol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_a_mixture_imputes_by_its_responsibilities(kind):
    rng = np.random.default_rng(42)
    x = rng.normal(size=(200, 2)) + 6.0 * (np.arange(200) % 2)[:, None]
    complete = x.copy()
    x[rng.random(x.shape) < 0.2] = np.nan
    model = jaxem.GaussianMixture(2, kind, missing=True)
    fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(np.sort(fit.params.components.mean[:, 0]), [0.0, 6.0], atol=0.4)
    gone = np.isnan(x)
    known = ~np.all(gone, axis=1)
    filled = np.asarray(model.impute(fit.params, jnp.asarray(x)))
    assert np.std((filled - complete)[gone & known[:, None]]) < 1.5
    empty = np.flatnonzero(~known)
    assert empty.size > 2
    marginal = np.asarray(fit.params.weights) @ np.asarray(fit.params.components.mean)
    np.testing.assert_allclose(filled[empty], np.broadcast_to(marginal, (empty.size, 2)), rtol=1e-10)
    draws = np.asarray(model.impute(fit.params, jnp.asarray(x), key=jax.random.key(3), num_draws=3000))
    np.testing.assert_allclose(draws.mean(0), filled, atol=5 * 3.2 / np.sqrt(3000))
    # One component is drawn for the whole row: the entries of a row without any are correlated.
    assert np.corrcoef(draws[:, empty[0]].T)[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["gibbs", "vbem", "squarem", "newton", "incremental_em"])
def test_other_algorithms_take_them_too(rule):
    x = scattered()
    prior = jaxem.priors.NormalInverseWishart(np.nanmean(x, 0), 0.1, np.eye(3) * 4.0, 5.0)
    model = jaxem.models.MultivariateNormal(missing=True, prior=prior if rule in ("gibbs", "vbem") else None)
    algorithm = jaxem.gibbs(400, burn_in=50) if rule == "gibbs" else getattr(jaxem.algorithms, rule)()
    fit = engine.solve(model, start(x), jnp.asarray(x), algorithm=algorithm, tol=1e-12, max_steps=500)
    assert engine.name(fit) in ("converged", "completed")
    best = engine.solve(MODEL, start(x), jnp.asarray(x), tol=1e-14)
    if rule in ("squarem", "newton", "incremental_em"):
        np.testing.assert_allclose(fit.log_likelihood, best.log_likelihood, atol=1e-7)
    np.testing.assert_allclose(fit.params.mean, best.params.mean, atol=0.5)


def cell():
    """A constructor for tables of models: model, start, rows, weights."""
    x = scattered()
    return MODEL, start(x), jnp.asarray(x), jnp.ones(len(x))
