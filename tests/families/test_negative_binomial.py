import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy import optimize, stats

import jaxem
from jaxem.testing import check_model
from tests.helpers import engine, published_regressions

rng = np.random.default_rng(3)
N = 120
LABELS = np.arange(N) % 2
MEAN, THETA = np.array([[2.0, 8.0], [12.0, 1.0]]), np.array([[1.0, 3.0], [4.0, 0.7]])
X = rng.poisson(MEAN[LABELS] * rng.gamma(THETA[LABELS], 1 / THETA[LABELS])).astype(float)
START = jaxem.models.MixtureParams(
    jnp.array([0.45, 0.55]),
    jaxem.families.NegativeBinomialParams(jnp.array([[3.0, 6.0], [9.0, 2.0]]), jnp.array([[1.5, 2.0], [2.0, 1.0]])),
)
B = jnp.array([[0.3, 0.2], [1.5, -0.1]])
ROWS = jaxem.Responses(
    np.stack([np.ones(60), rng.standard_normal(60)], 1), X[:60, 0], rng.integers(1, 5, 60).astype(float)
)
SINGLE, REGRESSION = (
    jaxem.Single(jaxem.families.NegativeBinomial()),
    jaxem.Single(jaxem.families.NegativeBinomialRegression()),
)


def cell():
    """For the table of every algorithm with every model."""
    return jaxem.Mixture(jaxem.families.NegativeBinomial(), 2), START, jnp.asarray(X), jnp.ones(N)


def zero_inflated():
    """For the same table."""
    count = jaxem.families.NegativeBinomialRegressionParams(B[:1], jnp.array([1.5]))
    params = jaxem.models.MixtureOfExpertsParams(jnp.array([[-1.0, 0.3]]), {"zero": (), "count": count})
    y = np.where(np.arange(60) % 4 == 0, 0.0, ROWS.y)
    return jaxem.models.ZeroInflatedNegativeBinomial(), params, device(ROWS._replace(y=y)), jnp.ones(60)


def device(rows):
    return jax.tree.map(jnp.asarray, rows)


def log_mass(y, mean, theta):
    return stats.nbinom.logpmf(y, theta, theta / (theta + mean))


def test_density(dtype):
    """Small and large counts, means and shapes, and the Poisson limit."""
    mean, theta = (np.float32(np.ravel(a)) for a in np.meshgrid([0.3, 5.0, 1e3, 1e6], [1e-2, 0.5, 3.0, 1e2, 1e4, 1e18]))
    y = np.float32([0, 1, 2, 7, 150, 900, 1200, 3e4, 9e5, 999e3, 1001e3, 5e6])
    family = jaxem.families.NegativeBinomial()

    @jax.jit
    def run(params, y):
        at = family.kernel().about(params)
        return family.latent.log_normalizer(at.potentials(at.natural(params), y)) + at.log_base(y)[None]

    params = jaxem.families.NegativeBinomialParams(*(jnp.asarray(a[:, None], dtype) for a in (mean, theta)))
    found = run(params, jnp.asarray(y[:, None], dtype))
    y, mean, theta = y.astype(float)[None], mean.astype(float)[:, None], theta.astype(float)[:, None]
    expected = np.where(theta < 1e6, log_mass(y, mean, theta), stats.poisson.logpmf(y, mean))
    assert found.dtype == dtype
    tolerance = {"rtol": 3e-6, "atol": 3e-6} if dtype == np.float32 else {"rtol": 1e-7}
    assert_allclose(found, expected, **tolerance)


def test_mixtures():
    found = cell()[0].log_prob(START, jnp.asarray(X))
    own = np.stack([log_mass(X, *member).sum(1) for member in zip(*map(np.asarray, START.components), strict=True)])
    assert_allclose(found, np.logaddexp(*(own + np.log([[0.45], [0.55]]))), rtol=1e-10)


def test_several_counts_of_an_observation_multiply():
    params = jaxem.families.NegativeBinomialRegressionParams(B[1], jnp.asarray(0.8))
    panel = jax.tree.map(lambda a: a.reshape(20, 3, *a.shape[1:]), ROWS)
    own = log_mass(ROWS.y, ROWS.size * np.exp(ROWS.x @ B[1]), 0.8)
    assert_allclose(REGRESSION.log_prob(params, device(ROWS)), own, rtol=1e-10)
    assert_allclose(REGRESSION.log_prob(params, device(panel)), own.reshape(20, 3).sum(1), rtol=1e-10)


def test_zero_inflation():
    model, params, rows, _ = zero_inflated()
    odds = np.exp(rows.x @ params.gate[0])
    mass = np.exp(log_mass(rows.y, rows.size * np.exp(rows.x @ B[0]), 1.5))
    expected = np.log((odds * (np.asarray(rows.y) == 0) + mass) / (1 + odds))
    assert_allclose(model.log_prob(params, rows), expected, rtol=1e-10)
    assert_allclose(np.asarray(model.posterior(params, rows))[:, 1], mass / (1 + odds) / np.exp(expected), rtol=1e-9)


def most_likely(y):
    """The mean is that of the counts, whatever `theta` is."""
    best = optimize.minimize_scalar(lambda t: -log_mass(y, y.mean(), np.exp(t)).sum(), (-2, 2), options={"xtol": 1e-10})
    return np.exp(best.x), -best.fun


def test_em_finds_the_maximum():
    start = jaxem.families.NegativeBinomialParams(*(leaf[0] for leaf in START.components))
    fit = engine.solve(SINGLE, start, jnp.asarray(X), tol=1e-14)
    expected = [most_likely(column) for column in X.T]
    assert engine.name(fit) == "converged"
    assert_allclose(fit.params.mean, X.mean(0), rtol=1e-5)
    assert_allclose(fit.params.theta, [theta for theta, _ in expected], rtol=1e-5)
    assert_allclose(fit.log_likelihood, sum(value for _, value in expected), rtol=1e-10)
    assert np.diff(engine.history(fit)).min() >= -1e-12 * abs(fit.objective)


@pytest.mark.slow
def test_parameter_expansion_saves_iterations_where_means_are_large():
    y = rng.poisson(100 * rng.gamma(0.5, 2.0, (80, 1))).astype(float)
    start = jaxem.families.NegativeBinomialParams(jnp.array([50.0]), jnp.array([2.0]))
    em, px = (engine.solve(SINGLE, start, y, tol=1e-12, algorithm=a) for a in (jaxem.em(), jaxem.px_em()))
    assert_allclose(px.params.mean, y.mean(), rtol=1e-9)
    assert_allclose(px.params.theta, most_likely(y)[0], rtol=1e-5)
    assert em.objective == pytest.approx(float(px.objective), abs=1e-6)
    assert int(px.num_steps) < 0.5 * int(em.num_steps)


@pytest.mark.slow
def test_a_gamma_prior_gives_the_posterior_mode():
    prior = jaxem.priors.Gamma(30.0, 10.0)
    fit = engine.solve(
        jaxem.Single(jaxem.families.NegativeBinomial(theta=2.0, prior=prior)),
        jaxem.families.NegativeBinomialParams(jnp.array([1.0]), jnp.array([2.0])),
        jnp.asarray(X[:, :1]),
        tol=1e-14,
    )
    best = optimize.minimize_scalar(
        lambda t: -log_mass(X[:, 0], np.exp(t), 2.0).sum() - stats.gamma.logpdf(np.exp(t), 30, scale=0.1), (0, 2)
    )
    assert_allclose(fit.params.mean, np.exp(best.x), rtol=1e-6)
    assert fit.objective == pytest.approx(-best.fun, abs=1e-8)


def test_what_is_given_or_shared_is_counted_once():
    counts = {
        (None, False): 9,
        (None, True): 7,
        (1.0, False): 5,
    }
    for (theta, shared), count in counts.items():
        family = jaxem.families.NegativeBinomial(theta=theta, shared_theta=shared)
        own = START.components.theta[0] if shared else START.components.theta
        params = START._replace(components=START.components._replace(theta=own))
        model = jaxem.Mixture(family, 2)
        assert model.num_parameters(params) == count
        free = family.unconstrain(params.components)
        blocks, undo = family.kernel().blocks(free)
        engine.assert_same(undo(blocks), free)


NEARLY_EQUAL = np.array([3.0, 4.0, 3.0, 5.0, 4.0, 4.0, 3.0, 4.0])


def regressed(y):
    rows = jaxem.Responses(np.ones((len(y), 1)), y)
    return jaxem.fit(REGRESSION, rows, key=jax.random.key(0), algorithm=jaxem.algorithms.newton())


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 8])
def test_counts_that_vary_little_lead_to_the_poisson_limit(size):
    y = NEARLY_EQUAL[:size]
    limit = stats.poisson.logpmf(y, y.mean()).sum()
    # EM creeps towards the limit: its steps soon gain little, though the way is long.
    gain = jaxem.termination.Gain()
    by_gain = jaxem.fit(SINGLE, y[:, None], key=jax.random.key(0), termination=gain, tol=1e-6)
    for fit in (by_gain, *([regressed(y)] if size > 1 else [])):
        assert engine.name(fit) == "converged"
        assert np.all(fit.params.theta > 1e3)
        assert limit - 1e-3 * size < fit.objective < limit


@pytest.mark.slow
def test_zeros_alone():
    zeros = np.zeros(8)
    fit = jaxem.fit(SINGLE, zeros[:, None], key=jax.random.key(0))
    assert engine.name(fit) == "converged"
    assert (float(fit.params.mean[0]), float(fit.objective)) == (0.0, 0.0)
    fit = regressed(zeros)
    assert engine.name(fit) == "degenerate_component"
    assert np.isfinite(fit.params.coefficients).all()


def test_draws():
    params = jaxem.families.NegativeBinomialParams(jnp.array([6.0]), jnp.array([0.7]))
    x, _ = SINGLE.sample(jax.random.key(0), params, 4000)
    counts = np.bincount(np.minimum(np.asarray(x)[:, 0].astype(int), 25), minlength=26)
    mass = np.exp(log_mass(np.arange(25), 6.0, 0.7))
    assert stats.chisquare(counts, 4000 * np.append(mass, 1 - mass.sum())).pvalue > 1e-3


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"theta must lie in \[0.001, 1e\+06\], got 0"):
        jaxem.families.NegativeBinomial(theta=0.0)
    with pytest.raises(jaxem.DataError, match=r"row 0, column 0 has value 0.5, which is not a count"):
        SINGLE.check(np.array([[0.5]]), None)
    with pytest.raises(jaxem.DataError, match=r"data\.size: row 1 .*exposure"):
        REGRESSION.check(ROWS._replace(size=np.arange(1.0, -59.0, -1.0)), None)
    model = jaxem.Single(jaxem.families.NegativeBinomial(prior=jaxem.priors.Gamma(2.0, 1.0)))
    with pytest.raises(jaxem.MissingCapabilityError, match="no conjugate prior of its theta"):
        jaxem.models.Variational(model)


@pytest.mark.slow
def test_a_single_member_is_that_of_statsmodels():
    fit = jaxem.fit(REGRESSION, ROWS, key=jax.random.key(0), tol=1e-13, algorithm=jaxem.algorithms.newton())
    expected = sm.NegativeBinomial(ROWS.y, ROWS.x, exposure=ROWS.size).fit(disp=False, maxiter=500, gtol=1e-6)
    assert engine.name(fit) == "converged"
    assert_allclose([*fit.params.coefficients, 1 / fit.params.theta], expected.params, rtol=1e-4)
    assert float(fit.log_likelihood) == pytest.approx(expected.llf, abs=1e-7)


@pytest.mark.slow
def test_single_precision_agrees():
    model, start, x, w = cell()
    coarse = engine.solve(model, *jax.tree.map(lambda a: a.astype(jnp.float32), (start, x, w)), tol=1e-6)
    fine = engine.solve(model, start, x, w, tol=1e-6)
    assert engine.name(coarse) == "converged"
    assert float(coarse.log_likelihood) == pytest.approx(float(fine.log_likelihood), rel=1e-5)


@pytest.mark.slow
def test_articles():
    rows, options = published_regressions.articles(), {"key": jax.random.key(0), "tol": 1e-13}
    plain = jaxem.fit(REGRESSION, rows, **options)
    assert engine.name(plain) == "converged"
    assert plain.log_likelihood == pytest.approx(published_regressions.ARTICLES_OVERDISPERSED, abs=1e-7)
    fit = jaxem.fit(jaxem.models.ZeroInflatedNegativeBinomial(), rows, algorithm=jaxem.algorithms.newton(), **options)
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.ARTICLES_BOTH, abs=1e-7)
    log_theta = np.log(fit.params.experts["count"].theta)
    assert_allclose(log_theta, published_regressions.ARTICLES_BOTH_LOG_THETA, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixture", "prior", "zeros", "regressions", "zero-inflated"])
def test_contract(kind):
    weights, components = START
    x, rows = jnp.asarray(X[:40]), device(ROWS)
    if kind == "mixture":
        check_model(jaxem.Mixture(jaxem.families.NegativeBinomial(), 2), START, x)
    elif kind == "prior":
        family = jaxem.families.NegativeBinomial(shared_theta=True, prior=jaxem.priors.Gamma(2.0, 0.5))
        start = jaxem.models.MixtureParams(weights, components._replace(theta=components.theta[0]))
        check_model(jaxem.Mixture(family, 2), start, x)
    elif kind == "zeros":
        family = jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.families.NegativeBinomial())
        start = {"zero": (), "count": jax.tree.map(lambda leaf: leaf[:1], components)}
        check_model(jaxem.Mixture(family, 2), jaxem.models.MixtureParams(weights, start), x.at[::5].set(0.0))
    elif kind == "regressions":
        family = jaxem.families.NegativeBinomialRegression(common=(1,), prior_deviation=3.0, shared_theta=True)
        params = jaxem.families.NegativeBinomialRegressionParams(B.at[1, 1].set(B[0, 1]), jnp.asarray(1.5))
        panel = jax.tree.map(lambda a: a.reshape(20, 3, *a.shape[1:]), rows)
        check_model(jaxem.Mixture(family, 2), jaxem.models.MixtureParams(weights, params), panel)
    else:
        check_model(*zero_inflated()[:3])
