"""Factor analysis and PPCA against published figures, closed forms and direct maximisation."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import chi2
from sklearn import decomposition
from sklearn.datasets import load_iris

import jaxem
from jaxem.models import factor_analysis
from tests.helpers import engine, product
from tests.helpers.factors import log_density
from tests.helpers.published import ABILITY

SQUAREM = jaxem.squarem()


def rows_with(covariance, total):
    """As few rows as have this covariance, and weights that add up to `total`."""
    d = len(covariance)
    frame = np.column_stack([np.ones(d + 1), np.random.default_rng(0).standard_normal((d + 1, d))])
    rows = np.sqrt(d + 1) * np.linalg.qr(frame)[0][:, 1:] @ np.linalg.cholesky(covariance).T
    return jnp.asarray(rows), jnp.full(d + 1, total / (d + 1))


def start(model, x, weights=None):
    x = jnp.asarray(x)
    weights = jnp.ones(len(x)) if weights is None else weights
    bound = model.bind(x, weights)
    return bound.decode(bound.init(jax.random.key(0), x, weights))


@lru_cache
def ability(num_factors):
    scale = np.sqrt(np.diag(ABILITY))
    x, weights = rows_with(ABILITY / np.outer(scale, scale), 112)
    model = jaxem.FactorAnalysis(num_factors)
    return engine.solve(model, start(model, x, weights), x, weights, tol=1e-13, algorithm=SQUAREM)


def chi_squared(fit, num_factors):
    """Of the model against any covariance, with Bartlett's correction."""
    scale = np.sqrt(np.diag(ABILITY))
    saturated = -112 / 2 * (6 * np.log(2 * np.pi) + np.linalg.slogdet(ABILITY / np.outer(scale, scale))[1] + 6)
    return 2 * (saturated - float(fit.log_likelihood)) * (111 - (2 * 6 + 5) / 6 - 2 * num_factors / 3) / 112


@pytest.mark.slow
def test_ability_tests_with_one_factor():
    fit = ability(1)
    assert engine.name(fit) == "converged"
    assert_allclose(fit.log_likelihood, -853.758021, atol=2e-6)
    uniqueness = 1 - np.asarray(factor_analysis.communalities(fit.params))
    assert_allclose(uniqueness, [0.5346, 0.8526, 0.7482, 0.9101, 0.2317, 0.2797], atol=6e-5)
    statistic = chi_squared(fit, 1)
    assert_allclose(statistic, 75.1796, atol=1e-4)
    assert_allclose(chi2.sf(statistic, 9), 1.456e-12, rtol=1e-3)


@pytest.mark.slow
def test_ability_tests_with_two_factors():
    fit = ability(2)
    assert engine.name(fit) == "converged"
    assert_allclose(fit.log_likelihood, -817.795671, atol=2e-6)
    uniqueness = 1 - np.asarray(factor_analysis.communalities(fit.params))
    assert_allclose(uniqueness, [0.4552, 0.5893, 0.2182, 0.7694, 0.0525, 0.3336], atol=6e-5)
    statistic = chi_squared(fit, 2)
    assert_allclose(statistic, 6.1066, atol=1e-4)
    assert_allclose(chi2.sf(statistic, 4), 0.1913, atol=6e-5)


def closed_form(x, q):
    """Tipping and Bishop (1999): covariance, log-likelihood and noise of the maximum."""
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = values[:-q].mean()
    covariance = noise * np.eye(len(values)) + (vectors[:, -q:] * (values[-q:] - noise)) @ vectors[:, -q:].T
    n, d = x.shape
    return covariance, -n / 2 * (d * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + d), noise


IRIS = {1: (-470.66945832, 0.1141390796), 2: (-404.96278016, 0.0506821479), 3: (-379.91463012, 0.0236761924)}


@pytest.mark.slow
@pytest.mark.parametrize("q", [1, 2, 3])
def test_principal_components_of_iris(q):
    x, model = load_iris().data, jaxem.PPCA(q)
    fit = engine.solve(model, start(model, x), jnp.asarray(x), tol=1e-13, algorithm=SQUAREM)
    assert engine.name(fit) == "converged"
    covariance, log_likelihood, noise = closed_form(x, q)
    assert_allclose(log_likelihood, IRIS[q][0], rtol=0, atol=6e-9)
    assert_allclose(noise, IRIS[q][1], rtol=0, atol=6e-11)
    assert_allclose(fit.log_likelihood, log_likelihood, atol=1e-7)
    assert_allclose(fit.params.noise_variance, noise, rtol=1e-6)
    loading = np.asarray(fit.params.loading)
    assert_allclose(loading @ loading.T + noise * np.eye(4), covariance, atol=1e-5)
    axes = np.asarray(factor_analysis.canonical(fit.params).loading)
    gram = axes.T @ axes
    assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    assert (np.diff(np.diag(gram)) < 0).all()
    assert (axes.sum(0) > 0).all()


@pytest.mark.slow
def test_complete_rows_against_scikit_learn():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 6)) + rng.uniform(0.5, 1.0, 6) * rng.standard_normal(
        (200, 6)
    )
    model, other = jaxem.FactorAnalysis(2), decomposition.FactorAnalysis(2, tol=1e-10, max_iter=5000).fit(x)
    fit = engine.solve(model, start(model, x), jnp.asarray(x), tol=1e-13, algorithm=SQUAREM)
    assert_allclose(fit.log_likelihood, other.score(x) * len(x), atol=1e-5)
    assert_allclose(fit.params.noise_variance, other.noise_variance_, rtol=1e-3)
    loading = np.asarray(fit.params.loading)
    assert_allclose(loading @ loading.T, other.components_.T @ other.components_, atol=1e-3)


@lru_cache
def incomplete(n=60, d=4):
    rng = np.random.default_rng(3)
    x = 5 + rng.standard_normal((n, 1)) @ rng.uniform(0.7, 1.5, (1, d)) + 0.7 * rng.standard_normal((n, d))
    x[rng.random((n, d)) < 0.25] = np.nan
    x[7] = np.nan
    return x


@pytest.mark.slow
def test_missing_entries_against_direct_maximisation():
    x, model = incomplete(), jaxem.FactorAnalysis(1)
    fit = engine.solve(model, start(model, x), jnp.asarray(x), tol=1e-12)
    d = x.shape[1]

    def loss(free):
        mean, loading, noise = np.split(free, 3)
        covariance, value = np.outer(loading, loading) + np.diag(np.exp(noise)), 0.0
        for row in x:
            seen = ~np.isnan(row)
            apart, block = (row - mean)[seen], covariance[np.ix_(seen, seen)]
            solved = np.linalg.solve(block, apart)
            value += seen.sum() * np.log(2 * np.pi) + np.linalg.slogdet(block)[1] + apart @ solved
        return value / 2

    best = minimize(loss, np.concatenate([np.nanmean(x, 0), np.ones(d), np.zeros(d)]), options={"gtol": 1e-7})
    assert engine.name(fit) == "converged"
    assert_allclose(fit.log_likelihood, -best.fun, atol=1e-6)
    mean, loading, noise = np.split(best.x, 3)
    assert_allclose(fit.params.mean, mean, atol=1e-4)
    assert_allclose(np.abs(fit.params.loading[:, 0]), np.abs(loading), atol=1e-4)
    assert_allclose(fit.params.noise_variance, np.exp(noise), atol=1e-4)


PARAMS = jaxem.families.FactorParams(
    jnp.array([5.0, 4.8, 5.3, 5.1]), jnp.array([[1.2], [0.8], [1.0], [0.9]]), jnp.array([0.4, 0.6, 0.5, 0.3])
)


def conditional(params, row):
    """Mean and covariance of the whole row and of the factors, given what is observed of it."""
    mean, loading, noise = (np.asarray(leaf) for leaf in params)
    d, q = loading.shape
    joint = np.block([[loading @ loading.T + np.diag(noise), loading], [loading.T, np.eye(q)]])
    seen = np.append(~np.isnan(row), [False] * q)
    gain = joint[:, seen] @ np.linalg.inv(joint[np.ix_(seen, seen)])
    average = np.append(mean, np.zeros(q)) + gain @ (row - mean)[seen[:d]]
    return average, joint - gain @ joint[seen]


def test_scores_and_imputation():
    x, params = incomplete(), PARAMS
    scores = factor_analysis.scores(params, jnp.asarray(x))
    filled = jaxem.FactorAnalysis(1).impute(params, jnp.asarray(x))
    fitted = factor_analysis.reconstruct(params, jnp.asarray(x))
    for i, row in enumerate(x):
        mean, covariance = conditional(params, row)
        assert_allclose(scores.mean[i], mean[4:], atol=1e-10)
        assert_allclose(scores.covariance[i], covariance[4:, 4:], atol=1e-10)
        assert_allclose(filled[i], np.where(np.isnan(row), mean[:4], row), atol=1e-10)
        assert_allclose(fitted[i], params.mean + params.loading @ scores.mean[i], atol=1e-10)
    assert_allclose(filled[7], params.mean)


def test_draws_of_missing_entries():
    x, params = incomplete()[:10], PARAMS
    draws = np.asarray(jaxem.FactorAnalysis(1).impute(params, jnp.asarray(x), key=jax.random.key(1), num_draws=4000))
    for i, row in enumerate(x):
        missing = np.isnan(row)
        mean, covariance = conditional(params, row)
        assert (draws[:, i, ~missing] == row[~missing]).all()
        if missing.any():
            spread = np.sqrt(np.diag(covariance)[:4][missing])
            assert (np.abs(draws[:, i, missing].mean(0) - mean[:4][missing]) < 5 * spread / np.sqrt(4000)).all()
            got = np.cov(draws[:, i, missing].T).reshape(missing.sum(), -1)
            block = covariance[:4, :4][np.ix_(missing, missing)]
            assert np.abs(got - block).max() < 0.15 * np.diag(block).max()


def test_varimax():
    rng = np.random.default_rng(4)
    simple = np.kron(np.eye(2), np.array([[0.9], [0.8], [0.7]])) + 0.02 * rng.standard_normal((6, 2))
    angle = 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    params = jaxem.families.FactorParams(jnp.zeros(6), jnp.asarray(simple @ turn), jnp.full(6, 0.3))

    def criterion(loading):
        rows = loading / np.linalg.norm(loading, axis=1, keepdims=True)
        return np.var(rows**2, axis=0).sum()

    found = np.asarray(factor_analysis.varimax(params).loading)
    assert_allclose(found @ found.T, simple @ simple.T, atol=1e-12)
    turns = [[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in np.linspace(0, np.pi, 2001)]
    best = max(criterion(simple @ np.array(turn)) for turn in turns)
    assert criterion(found) > best - 1e-12
    assert criterion(found) < best + 1e-5


def test_members_of_a_mixture_keep_their_axis():
    rng = np.random.default_rng(5)
    params = jaxem.families.FactorParams(*(jnp.asarray(rng.uniform(0.5, 1.0, s)) for s in ((3, 4), (3, 4, 2), (3, 4))))
    x = jnp.asarray(rng.standard_normal((6, 4)))
    many = factor_analysis.scores(params, x)
    for k in range(3):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], params)
        assert_allclose(many.mean[k], factor_analysis.scores(one, x).mean, rtol=1e-12)
        got = jax.tree.map(lambda leaf, k=k: leaf[k], factor_analysis.canonical(params))
        engine.assert_same(got, factor_analysis.canonical(one))


@pytest.mark.slow
def test_columns_explained_wholly_are_reported():
    # One factor behind these correlations would explain more than all of the first column: 0.8 * 0.8 / 0.4 of it.
    covariance = np.array([[1.0, 0.8, 0.8], [0.8, 1.0, 0.4], [0.8, 0.4, 1.0]])
    x, weights = rows_with(covariance, 100)
    model = jaxem.FactorAnalysis(1)
    fit = engine.solve(model, start(model, x, weights), x, weights, tol=1e-9)
    assert engine.name(fit) == "degenerate_component"
    assert_allclose(fit.params.noise_variance[0], 0.005, rtol=1e-3)


@pytest.mark.slow
def test_a_density_without_bound_ends_where_its_digits_do():
    # The joint density of parameters and factors grows without bound as one column's noise vanishes.
    cell = product.models()["factors"]
    rule = jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=jaxem.m_step.Newton())
    fit = engine.solve(cell.model, cell.start, cell.x, cell.weights, algorithm=rule, tol=1e-13, max_steps=400)
    assert engine.name(fit) == "degenerate_component"
    assert float(cell.model.bound().rounding_error(fit.params)) < 1e-7
    history = np.asarray(fit.history)[: int(fit.num_steps) + 1]
    assert np.diff(history).min() > 0
    assert_allclose(fit.objective, history[-1], rtol=1e-6)


@pytest.mark.slow
def test_an_offset_in_single_precision():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((400, 2)) @ rng.standard_normal((2, 5)) + rng.standard_normal((400, 5))
    x[rng.random(x.shape) < 0.2] = np.nan
    x = (1e5 + 100 * x).astype(np.float32)
    model, fits = jaxem.FactorAnalysis(2), []
    first = start(model, x.astype(float))
    for dtype, tol in ((np.float64, 1e-10), (np.float32, 1e-6)):
        params = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), first)
        fits.append(engine.solve(model, params, jnp.asarray(x, dtype), tol=tol, algorithm=SQUAREM))
    wide, narrow = fits
    assert engine.name(narrow) == "converged"
    assert narrow.params.loading.dtype == np.float32
    assert_allclose(narrow.params.mean, wide.params.mean, rtol=1e-5)
    for a, b in zip(*(factor_analysis.canonical(fit.params)[1:] for fit in (narrow, wide)), strict=True):
        assert_allclose(a, b, atol=2e-2 * np.abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kmeans++", "points", "random", "short_runs"])
def test_mixtures_are_found_from_every_start(method):
    rng = np.random.default_rng(9)
    labels = rng.integers(2, size=300)
    centre, loading = 6 * rng.standard_normal((2, 4)), rng.standard_normal((2, 4, 1))
    x = centre[labels] + (loading[labels] * rng.standard_normal((300, 1, 1)))[..., 0]
    x = x + 0.5 * rng.standard_normal((300, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    x = x[~np.isnan(x).all(1)]
    model = jaxem.MixtureOfFactorAnalyzers(2, 1)
    fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4, init=method, max_steps=500)
    assert engine.name(fit) in ("converged", "degenerate_component")
    truth = jaxem.families.FactorParams(centre, loading, np.full((2, 4), 0.25))
    at_truth = np.logaddexp(*(log_density(truth, x) + np.log(0.5))).sum()
    assert fit.log_likelihood > at_truth
    completed = model.impute(fit.params, jnp.asarray(x))
    assert np.isfinite(np.asarray(completed)).all()
