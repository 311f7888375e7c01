"""Missing entries where columns are independent: each column is fitted to the entries that are there."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem._bound import collect
from jaxem.testing import check_model

K, D, N = 2, 3, 40
KEY = jax.random.key(8)


def _bernoulli(x, p):
    return np.where(x == 1, np.log(p), np.log1p(-p))


KINDS = {
    "poisson": (
        jaxem.Poisson(jaxem.priors.Gamma(2.0, 0.5)),
        lambda rng: rng.poisson([2.0, 7.0, 0.5], (N, D)),
        jaxem.families.PoissonParams(np.array([[1.0, 8.0, 0.4], [3.0, 5.0, 0.7]])),
        lambda x, p: stats.poisson.logpmf(x, p),
    ),
    "bernoulli": (
        jaxem.Bernoulli(jaxem.priors.Beta(2.0, 3.0)),
        lambda rng: rng.random((N, D)) < [0.3, 0.6, 0.8],
        jaxem.families.BernoulliParams(np.array([[0.2, 0.5, 0.9], [0.4, 0.7, 0.6]])),
        _bernoulli,
    ),
    "categorical": (
        jaxem.Categorical(3, jaxem.priors.Dirichlet(1.5)),
        lambda rng: rng.integers(0, 3, (N, D)),
        jaxem.families.CategoricalParams(np.random.default_rng(1).dirichlet(np.ones(3), (K, D))),
        lambda x, p: np.log(np.take_along_axis(p, x[..., None].astype(int), -1)[..., 0]),
    ),
}


@pytest.fixture(scope="module", params=["poisson", pytest.param("bernoulli", marks=pytest.mark.slow), "categorical"])
def case(request):
    """A family, rows with entries missing (row 5 all of them), parameters, and each entry's log density."""
    family, draw, params, log_density = KINDS[request.param]
    rng = np.random.default_rng(6)
    x = draw(rng).astype(float)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[5] = np.nan
    params = jax.tree.map(jnp.asarray, params)
    there = np.where(np.isnan(x), 0, x)
    leaf = np.asarray(params[0])
    each = np.stack([log_density(there, np.broadcast_to(member, (N, *member.shape))) for member in leaf])
    return family, x, params, np.where(np.isnan(x), 0, each)


def mixture(family):
    return jaxem.Mixture(jaxem.families.IncompleteColumns(family), K, weights_prior=jaxem.priors.Dirichlet(2.0))


@eqx.filter_jit
def expect(model, params, x, w, anchored=False):
    bound = model.bind(x, w)
    bound = (bound.accurate() or bound) if anchored else bound
    bound = bound.about(params)
    stats, value = collect(bound, bound.natural(params), x, w, bound.latent.expectation)
    return bound.maximize(stats, params), value + bound.log_base(x), bound.conjugate().posterior(stats)


@pytest.mark.parametrize("anchored", [False, True])
def test_density_and_maximum_are_those_of_the_entries_that_are_there(case, anchored):
    family, x, components, each = case
    weights = np.array([0.3, 0.7])
    w = np.arange(1.0, N + 1) / 7
    params = jaxem.models.MixtureParams(jnp.asarray(weights), components)
    found, value, posterior = expect(mixture(family), params, jnp.asarray(x), jnp.asarray(w), anchored)
    joint = np.log(weights)[:, None] + each.sum(-1)
    log_prob = np.logaddexp(*joint)
    np.testing.assert_allclose(value, log_prob, rtol=1e-10, atol=1e-12)
    assert value[5] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(mixture(family).log_prob(params, jnp.asarray(x)), log_prob, rtol=1e-10, atol=1e-12)
    # Each column by itself: rows that do not have it are nobody's.
    share = np.exp(joint - log_prob) * w

    @jax.jit
    def alone(rows, moments, start):
        bound = jaxem.Mixture(family, K).bind(rows, jnp.ones(N))
        stats, _ = collect(bound, bound.natural(start), rows, jnp.ones(N), lambda _: (moments, None))
        return bound.maximize(stats, start).components, bound.kernel.conjugate().posterior(stats.components)

    for column in range(D):
        rows, seen = np.nan_to_num(x[:, [column]]), ~np.isnan(x[:, column])
        start = params._replace(components=jax.tree.map(lambda leaf, j=column: leaf[:, [j]], components))
        expected, expected_posterior = alone(rows, share * seen, start)
        np.testing.assert_allclose(found.components[0][:, [column]], expected[0], rtol=1e-9)
        np.testing.assert_allclose(
            jax.tree.leaves(posterior.components)[0][:, [column]],
            jax.tree.leaves(expected_posterior)[0],
            rtol=1e-9,
        )


def test_without_missing_entries_it_is_the_family(case):
    family, x, components, _ = case
    full = jnp.asarray(np.where(np.isnan(x), 1, x))
    params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), components)
    plain = jaxem.Mixture(family, K, weights_prior=jaxem.priors.Dirichlet(2.0))
    both = (expect(model, params, full, jnp.ones(N)) for model in (mixture(family), plain))
    for mine, theirs in zip(*both, strict=True):
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_fits_from_random_starts_and_fills_in(case):
    family, x, _, _ = case
    model = jaxem.Mixture(jaxem.families.IncompleteColumns(family), K)
    fit = jaxem.fit(model, x, key=KEY, restarts=4)
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, model.log_prob(fit.params, jnp.asarray(x)).sum(), rtol=1e-9)
    there = ~np.isnan(x)
    drawn = np.asarray(model.impute(fit.params, jnp.asarray(x), key=KEY, num_draws=30))
    assert drawn.shape == (30, N, D)
    np.testing.assert_array_equal(drawn[:, there], np.broadcast_to(x[there], (30, there.sum())))
    family.check(drawn[0])
    if isinstance(family, jaxem.Categorical):
        with pytest.raises(jaxem.MissingCapabilityError, match="no mean to impute"):
            model.impute(fit.params, jnp.asarray(x))
        return
    mean = np.asarray(model.impute(fit.params, jnp.asarray(x)))
    share = np.asarray(model.posterior(fit.params, jnp.asarray(x)))
    expected = share @ np.asarray(fit.params.components[0])
    np.testing.assert_allclose(mean[~there], expected[~there], rtol=1e-9)


def test_chains_of_incomplete_counts():
    model = jaxem.HMM(jaxem.families.IncompleteColumns(jaxem.Poisson()), 2)
    emission = jaxem.families.PoissonParams(jnp.array([[1.0, 6.0], [4.0, 2.0]]))
    params = jaxem.models.HMMParams(jnp.array([0.6, 0.4]), jnp.array([[0.8, 0.2], [0.3, 0.7]]), emission)
    x = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 2.0], [np.nan, 7.0]])
    rates = np.asarray(emission.rate)
    steps = np.where(np.isnan(x)[:, None], 0, stats.poisson.logpmf(np.nan_to_num(x)[:, None], rates[None])).sum(-1)
    total = 0.0
    for path in itertools.product(range(2), repeat=4):
        moves = np.prod([np.asarray(params.transition)[a, b] for a, b in itertools.pairwise(path)])
        total += float(params.initial[path[0]]) * moves * np.exp(steps[np.arange(4), path].sum())
    sequences = jaxem.Sequences.of([x])
    np.testing.assert_allclose(model.log_prob(params, sequences)[0], np.log(total), rtol=1e-10)
    filled = np.asarray(model.impute(params, sequences))[0]
    there = ~np.isnan(x)
    np.testing.assert_array_equal(filled[there], x[there])
    expected = np.asarray(model.posterior(params, sequences))[0] @ rates
    np.testing.assert_allclose(filled[~there], expected[~there], rtol=1e-9)


@pytest.mark.slow
def test_large_counts_in_single_precision():
    rng = np.random.default_rng(9)
    rates = np.array([2.0e6, 2.02e6])
    x = rng.poisson(rates[rng.integers(0, 2, 300)][:, None], (300, 2)).astype(float)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[np.isnan(x).all(1), 0] = rates[0]
    model = jaxem.Mixture(jaxem.families.IncompleteColumns(jaxem.Poisson()), 2)
    single = jaxem.fit(model, x.astype(np.float32), key=KEY, restarts=2, init="points")
    double = jaxem.fit(model, x, key=KEY, restarts=2, init="points")
    assert jaxem.status_name(single.status) == "converged"
    a, b = (np.sort(np.asarray(fit.params.components.rate)[:, 0]) for fit in (single, double))
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.slow
def test_it_keeps_what_models_promise(case):
    family, x, components, _ = case
    params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), components)
    check_model(jaxem.Mixture(jaxem.families.IncompleteColumns(family), K), params, jnp.asarray(x), key=KEY)


@pytest.mark.slow
def test_gibbs_and_variational_bayes_run(case):
    family, x, _, _ = case
    bayes = jaxem.fit(mixture(family), x, key=KEY, algorithm=jaxem.vbem())
    assert jaxem.status_name(bayes.status) == "converged"
    drawn = jaxem.fit(mixture(family), x, key=KEY, algorithm=jaxem.gibbs(50, burn_in=10), max_steps=60)
    assert jax.tree.leaves(drawn.draws)[0].shape[0] == 50


def test_what_is_refused(case):
    family, x, _, _ = case
    model = jaxem.Mixture(jaxem.families.IncompleteColumns(family), K)
    gone = x.copy()
    gone[:, 1] = np.nan
    with pytest.raises(jaxem.DataError, match="column 1 has no entry that is not missing"):
        jaxem.fit(model, gone, key=KEY)
    bad = x.copy()
    bad[3, 2] = -1
    with pytest.raises(jaxem.DataError, match="row 3, column 2"):
        jaxem.fit(model, bad, key=KEY)
    with pytest.raises(ValueError, match=r"use jaxem.Incomplete\), got Gaussian"):
        jaxem.families.IncompleteColumns(jaxem.Gaussian())
    with pytest.raises(ValueError, match="the same for all columns"):
        jaxem.families.IncompleteColumns(jaxem.Poisson(jaxem.priors.Gamma(jnp.ones(3), 1.0)))
