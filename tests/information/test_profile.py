"""Profile likelihoods against closed forms and against SciPy's constrained maxima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

import jaxem
from jaxem.information import observed, profile
from jaxem.information._scalar import scalar
from tests.helpers import published

LEVEL = stats.chi2.ppf(0.95, 1)
COUNTS = jnp.array([0.0, 1, 1, 2, 3, 3, 5, 9])[:, None]


def roots(deviance, low, estimate, high):
    """Where a function crosses the level on both sides of its least value."""
    return tuple(optimize.brentq(lambda t: deviance(t) - LEVEL, *ends) for ends in ((low, estimate), (estimate, high)))


def normal(x, variance=None):
    x = jnp.asarray(x)
    params = jaxem.families.GaussianParams(x.mean(0), x.var(0) if variance is None else variance)
    return jaxem.Single(jaxem.Gaussian("diagonal")), params, x


def poisson(x):
    return jaxem.Single(jaxem.Poisson()), jaxem.families.PoissonParams(x.mean(0)), x


# Closed forms


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_poisson_rate(dtype):
    model, params, x = poisson(COUNTS.astype(dtype))
    found = profile(model, params, x, "rate[0]")
    wanted = roots(lambda r: 2 * (8 * (r - 3) - 24 * np.log(r / 3)), 0.1, 3, 20)
    np.testing.assert_allclose((found.lower, found.upper), wanted, rtol=1e-9 if dtype == "float64" else 1e-4)
    exact = 2 * (8 * (found.values - 3) - 24 * np.log(found.values / 3))
    np.testing.assert_allclose(found.deviance, exact, atol=1e-9 if dtype == "float64" else 1e-3)
    assert (found.scale, found.name, found.estimate, found.notes) == ("log", "rate[0]", 3, ())
    assert jaxem.status_name(found.status) == ["converged"] * 17
    assert found.params.rate.shape == (17, 1)
    np.testing.assert_allclose(found.params.rate[:, 0], found.values, rtol=1e-10 if dtype == "float64" else 1e-5)
    np.testing.assert_allclose(found.maximum, stats.poisson(3).logpmf(np.asarray(COUNTS)).sum(), rtol=1e-6)
    assert "rate[0]: 3, 95% interval 1.95" in repr(found)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_binomial_proportion(level):
    model = jaxem.Single(jaxem.Bernoulli())
    x = jnp.array([[1.0], [0.0]])
    params = jaxem.families.BernoulliParams(jnp.array([0.3]))
    found = profile(model, params, x, "probability[0]", level=level, weights=jnp.array([3.0, 7.0]), num_points=8)
    q = stats.chi2.ppf(level, 1)
    gap = lambda p: 2 * (3 * np.log(0.3 / p) + 7 * np.log(0.7 / (1 - p))) - q  # noqa: E731
    wanted = optimize.brentq(gap, 1e-6, 0.3), optimize.brentq(gap, 0.3, 1 - 1e-6)
    np.testing.assert_allclose((found.lower, found.upper), wanted, rtol=1e-9)


def test_normal_mean_and_variance():
    x = np.array([[1.0], [2.5], [2.0], [7.0], [4.0]])
    model, params, x = normal(x)
    mean, variance, n = float(x.mean()), float(x.var()), 5
    found = profile(model, params, x, "mean[0]")
    half = np.sqrt(variance * np.expm1(LEVEL / n))
    np.testing.assert_allclose((found.lower, found.upper), (mean - half, mean + half), rtol=1e-9)
    # The variance that belongs to each mean.
    np.testing.assert_allclose(found.params.covariance[:, 0], variance + (found.values - mean) ** 2, rtol=1e-6)
    spread = profile(model, params, x, "covariance[0]")
    wanted = roots(lambda s: n * (np.log(s / variance) + variance / s - 1), 0.1, variance, 200)
    np.testing.assert_allclose((spread.lower, spread.upper), wanted, rtol=1e-9)


def test_the_interval_is_the_same_on_every_scale():
    model, params, x = normal(np.array([[1.0], [2.5], [2.0], [7.0], [4.0]]))
    named = profile(model, params, x, "covariance[0]")

    def deviation(p):
        return jnp.sqrt(p.covariance[0])

    log = profile(model, params, x, lambda p: jnp.log(p.covariance[0]) / 2)
    identity, other = (profile(model, params, x, deviation, scale=scale) for scale in ("identity", "log"))
    limits = np.array([named.lower, named.upper])
    np.testing.assert_allclose([log.lower, log.upper], np.log(limits) / 2, rtol=1e-8)
    for found in (identity, other):
        np.testing.assert_allclose([found.lower, found.upper], np.sqrt(limits), rtol=1e-8)
    assert identity.name == "deviation"


def test_a_function_of_several_parameters():
    model, params, x = normal(np.array([[1.0, 0.0], [2.5, 1.0], [2.0, 5.0], [7.0, 2.0], [4.0, 3.0]]))
    found = profile(model, params, x, lambda p: p.mean[0] - p.mean[1])

    def constrained(c):
        value = lambda m: 2.5 * sum(np.log(np.mean((np.asarray(x)[:, i] - v) ** 2)) for i, v in enumerate((m + c, m)))  # noqa: E731
        return optimize.minimize_scalar(value, bounds=(-5, 10), options={"xatol": 1e-10}).fun

    top = 2.5 * np.sum(np.log(np.asarray(x).var(0)))
    exact = [2 * (constrained(c) - top) for c in found.values]
    np.testing.assert_allclose(found.deviance, exact, atol=1e-7)


# Mixtures, against SciPy


def test_the_weight_of_a_poisson_mixture():
    """Deaths of women over 80 in The Times, by day; Hasselblad (1969)."""
    days = jnp.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    model, deaths = jaxem.Mixture(jaxem.Poisson(), 2), jnp.arange(10.0)[:, None]
    share, rates = published.LONDON_TIMES_WEIGHT, jnp.array(published.LONDON_TIMES_RATES)[:, None]
    params = jaxem.models.MixtureParams(jnp.array([share, 1 - share]), jaxem.families.PoissonParams(rates))
    found = profile(model, params, deaths, "weights[0]", weights=days, num_points=9)
    x, w = np.asarray(deaths)[:, 0], np.asarray(days)

    def constrained(weight, start):
        def lost(u):
            each = stats.poisson(np.exp(u)[:, None]).logpmf(x[None])
            return -np.sum(w * special.logsumexp(each + np.log([[weight], [1 - weight]]), axis=0))

        return optimize.minimize(lost, np.log(start), method="BFGS", options={"gtol": 1e-7})

    top = -constrained(share, np.sort(rates[:, 0])).fun
    np.testing.assert_allclose(found.maximum, top, atol=1e-6)
    np.testing.assert_allclose(top, -1989.9459, atol=1e-4)
    for value, height, rate in zip(
        found.values, found.log_likelihood, found.params.components.rate[:, :, 0], strict=True
    ):
        start = np.sort(np.asarray(rate)) * 1.01
        np.testing.assert_allclose(height, -constrained(value, start).fun, atol=1e-6)
    # Both limits lie on the level, far from those of Wald.
    np.testing.assert_allclose(found.deviance[[0, -1]], LEVEL, atol=1e-5)
    assert found.notes == ()


def geyser(dtype="float64", tol=1e-13):
    x = jnp.asarray(jaxem.datasets.old_faithful().data, dtype)
    model = jaxem.GaussianMixture(2)
    return model, jaxem.fit(model, x, key=jax.random.key(0), restarts=2, tol=tol).params, x


@pytest.mark.slow
def test_a_gaussian_mixture_is_as_scipy_has_it():
    model, params, x = geyser()
    x = x[:, :1]
    model = jaxem.GaussianMixture(2)
    params = jaxem.fit(model, x, key=jax.random.key(0), restarts=2, tol=1e-13, max_steps=5000).params
    found = profile(model, params, x, "components.mean[1, 0]", num_points=7)
    data = np.asarray(x)[:, 0]

    def lost(u):
        p = 1 / (1 + np.exp(-u[0]))
        each = stats.norm(u[1:3, None], np.exp(u[3:, None])).logpdf(data[None])
        return -special.logsumexp(each + np.log([[p], [1 - p]]), axis=0).sum()

    for i in (0, 2, 6):
        mean, variance = (np.asarray(leaf)[i].reshape(2) for leaf in found.params.components)
        weight = float(found.params.weights[i, 0])
        start = np.array([np.log(weight / (1 - weight)), *mean, *np.log(variance) / 2])
        rule = {"type": "eq", "fun": lambda u, c=found.values[i]: u[2] - c}
        moved = start + np.array([0.1, 0.02, 0, 0.05, -0.05])
        best = optimize.minimize(lost, moved, method="SLSQP", constraints=rule, options={"ftol": 1e-14, "maxiter": 500})
        np.testing.assert_allclose(found.log_likelihood[i], -best.fun, atol=1e-6)
    np.testing.assert_allclose(found.deviance[[0, -1]], LEVEL, atol=1e-5)


@pytest.mark.slow
def test_members_keep_their_places():
    """Beyond the other's mean: the ridge is that of the fit, not its mirror image."""
    model, params, x = geyser()
    gap = float(params.components.mean[0, 0] - params.components.mean[1, 0])
    low = 1 if gap > 0 else 0
    found = profile(model, params, x, f"components.mean[{low}, 0]", values=[1.9, 2.0, 2.1], num_points=7)
    other = np.asarray(found.params.components.mean)[:, 1 - low, 0]
    np.testing.assert_allclose(other, params.components.mean[1 - low, 0], atol=0.2)
    np.testing.assert_allclose(found.params.components.mean[:, low, 0], [1.9, 2.0, 2.1], rtol=1e-8)


@pytest.mark.slow
def test_single_precision_agrees():
    exact = profile(*geyser(), "components.covariance[0, 0, 1]")
    found = profile(*geyser("float32", 1e-8), "components.covariance[0, 0, 1]")
    assert found.params.weights.dtype == jnp.float32
    same = np.sort([exact.lower, exact.upper])
    np.testing.assert_allclose(np.sort([found.lower, found.upper]), same, rtol=5e-3)


# What has no interval, or a limit that is none


@pytest.mark.slow
def test_a_limit_that_the_likelihood_does_not_have():
    """Two components of data from one: the weight may be nothing."""
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    w = jnp.array([30.0, 60, 62, 45, 24, 9, 4, 2])
    deaths = jnp.arange(8.0)[:, None]
    params = jaxem.fit(model, deaths, weights=w, key=jax.random.key(1), restarts=4, tol=1e-15, max_steps=50000).params
    first = int(np.argmin(np.asarray(params.weights)))
    found = profile(model, params, deaths, f"weights[{first}]", weights=w)
    assert found.lower == 0
    assert any("lower limit is not reached" in note for note in found.notes)


def test_where_the_function_ends():
    model, params, x = poisson(COUNTS)

    def hill(p):
        return -((p.rate[0] - 2.5) ** 2)

    found = profile(model, params, x, hill)
    assert "the upper limit is where the function ends" in found.notes[0]
    np.testing.assert_allclose(found.upper, 0, atol=1e-3)
    lower = optimize.brentq(lambda r: 2 * (8 * (r - 3) - 24 * np.log(r / 3)) - LEVEL, 3, 20)
    np.testing.assert_allclose(found.lower, -((lower - 2.5) ** 2), rtol=1e-7)
    with pytest.raises(jaxem.DataError, match=r"values\[1\] is 2, which hill does not take"):
        profile(model, params, x, hill, values=[-0.5, 2.0])


@pytest.mark.slow
def test_what_the_data_do_not_determine():
    z = jax.random.normal(jax.random.key(1), (60, 2))
    x = z @ jnp.array([[1.0, 0.8, 0.5, -0.4, 0.3, 0.6], [0.2, -0.3, 0.9, 0.8, 0.3, -0.7]])
    x = x + 0.6 * jax.random.normal(jax.random.key(2), x.shape)
    model = jaxem.FactorAnalysis(2)
    params = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-13, max_steps=20000).params
    found = profile(model, params, x, "loading[0, 0]", num_points=7)
    assert np.isnan([found.lower, found.upper]).all()
    assert "not determined by the data" in found.notes[0]
    assert found.values.shape == (1,)

    def communality(p):
        return jnp.sum(p.loading[0] ** 2)

    determined = profile(model, params, x, communality, num_points=7)
    assert determined.lower < determined.estimate < determined.upper
    np.testing.assert_allclose(determined.deviance[[0, -1]], LEVEL, atol=1e-5)
    error = float(observed(model, params, x).delta(communality).standard_error)
    assert 0.7 < (determined.upper - determined.lower) / (2 * 1.96 * error) < 1.6


# On a bound


@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "float32"])
def test_no_success_and_nothing_but_successes(dtype):
    """The deviance of a proportion `p` is `-2 n log(1 - p)` without a success."""
    model, rtol = jaxem.Single(jaxem.Bernoulli()), 1e-8 if dtype == "float64" else 1e-4
    for n in (5, 20, 1000):
        x, w = jnp.zeros((1, 1), dtype), jnp.array([float(n)], dtype)
        found = profile(model, jaxem.families.BernoulliParams(jnp.zeros(1, dtype)), x, "probability", weights=w)
        far = -np.expm1(-LEVEL / (2 * n))
        assert (found.lower, found.estimate) == (0, 0)
        np.testing.assert_allclose(found.upper, far, rtol=rtol)
        assert found.notes == ("probability[0] lies on a bound: the lower limit is that bound, 0",)
        np.testing.assert_allclose(found.values, np.linspace(0, far, 17), rtol=rtol)
        np.testing.assert_allclose(found.deviance, -2 * n * np.log1p(-found.values), atol=1e-7 if rtol < 1e-5 else 2e-3)
        np.testing.assert_allclose(found.params.probability[:, 0], found.values, rtol=rtol)
        all_ones = jaxem.families.BernoulliParams(jnp.ones(1, dtype))
        other = profile(model, all_ones, x + 1, "probability", weights=w, level=0.9, num_points=7)
        assert other.upper == 1
        np.testing.assert_allclose(1 - other.lower, -np.expm1(-stats.chi2.ppf(0.9, 1) / (2 * n)), rtol=rtol)
        assert "the upper limit is that bound, 1" in other.notes[0]
    at = profile(model, all_ones, x + 1, "probability", weights=w, values=[0.999, 0.9995])
    np.testing.assert_allclose(at.deviance, -2 * 1000 * np.log([0.999, 0.9995]), rtol=1e-3)


def test_a_rate_of_0_and_a_category_that_never_occurs():
    model, x = jaxem.Single(jaxem.Poisson()), jnp.zeros((20, 1))
    found = profile(model, jaxem.families.PoissonParams(jnp.zeros(1)), x, "rate")
    np.testing.assert_allclose((found.lower, found.upper), (0, LEVEL / 40), rtol=1e-8)
    model, x, w = jaxem.Single(jaxem.Categorical(3)), jnp.array([[0], [1]]), jnp.array([12.0, 8.0])
    params = jaxem.families.CategoricalParams(jnp.array([[0.6, 0.4, 0.0]]))
    found = profile(model, params, x, "probabilities[0, 2]", weights=w)
    np.testing.assert_allclose((found.lower, found.upper), (0, -np.expm1(-LEVEL / 40)), rtol=1e-8)
    shares = np.asarray(found.params.probabilities)[:, 0]
    np.testing.assert_allclose(shares[:, 0] / shares[:, 1], 1.5, rtol=1e-6)
    alone = jaxem.families.CategoricalParams(jnp.array([[1.0, 0.0, 0.0]]))
    found = profile(model, alone, x[:1], "probabilities[0, 0]", weights=w[:1])
    np.testing.assert_allclose((found.lower, found.upper), (np.exp(-LEVEL / 24), 1), rtol=1e-8)


def test_a_weight_of_0_is_no_maximum_where_another_member_helps():
    """The limit is not known, since the parameters are no maximum, and it says where a better one is."""
    model, deaths = jaxem.Mixture(jaxem.Poisson(), 2), jnp.arange(8.0)[:, None]
    w = jnp.array([30.0, 60, 62, 45, 24, 9, 4, 2])
    mean = float(jnp.sum(w * deaths[:, 0]) / jnp.sum(w))
    empty = jaxem.models.MixtureParams(jnp.array([0.0, 1.0]), jaxem.families.PoissonParams(jnp.array([[1.0], [mean]])))
    found = profile(model, empty, deaths, "weights[0]", weights=w, num_points=7)
    assert (found.lower, np.isnan(found.upper)) == (0, True)
    assert "the upper limit is not known: the likelihood is higher at" in found.notes[1]


@pytest.mark.slow
def test_a_variance_at_its_floor():
    """The other parameters of a factor model are maximized by SciPy."""
    rng = np.random.default_rng(2)
    noise = np.array([0.05, 0.7, 0.7, 0.5]) * rng.standard_normal((300, 4))
    x = rng.standard_normal((300, 1)) * np.array([1.0, 1.0, 0.5, 0.5]) + noise
    model = jaxem.Single(jaxem.Factor(1, floor=0.1))
    params = jaxem.fit(model, x, key=jax.random.key(0), tol=1e-12, max_steps=5000).params
    found = profile(model, params, x, "noise_variance[0]", num_points=7)
    assert found.lower == found.estimate == float(params.noise_variance[0])
    assert "lies on a bound" in found.notes[0]
    sample = np.cov(x.T, bias=True)

    def lost(variance):
        def value(u):
            inner = np.outer(u[:4], u[:4]) + np.diag([variance, *np.exp(u[4:])])
            return 150 * (np.linalg.slogdet(inner)[1] + np.trace(np.linalg.solve(inner, sample)))

        start = np.concatenate([np.asarray(params.loading)[:, 0], np.log(params.noise_variance[1:])])
        return optimize.minimize(value, start, method="BFGS", options={"gtol": 1e-6}).fun

    np.testing.assert_allclose(2 * (lost(found.upper) - lost(found.lower)), LEVEL, atol=1e-4)


def test_with_a_prior_it_is_the_posterior():
    prior = jaxem.priors.Gamma(3.0, 2.0)
    model = jaxem.Single(jaxem.Poisson(prior=prior))
    rate = jaxem.families.PoissonParams(jnp.array([(24 + 3 - 1) / (8 + 2)]))
    found = profile(model, rate, COUNTS, "rate[0]")

    def value(r):
        prior = float(model.log_prior(jaxem.families.PoissonParams(jnp.array([r]))))
        return stats.poisson(r).logpmf(np.asarray(COUNTS)).sum() + prior

    np.testing.assert_allclose(found.log_likelihood, [value(r) for r in found.values], atol=1e-8)
    np.testing.assert_allclose(found.deviance[[0, -1]], LEVEL, atol=1e-6)


def test_rows_of_weight_zero_are_none():
    model, params, x = poisson(COUNTS)
    more = jnp.concatenate([x, jnp.full((2, 1), jnp.nan)])
    w = jnp.concatenate([jnp.ones(8), jnp.zeros(2)])
    one, other = profile(model, params, x, "rate"), profile(model, params, more, "rate", weights=w)
    np.testing.assert_allclose((one.lower, one.upper), (other.lower, other.upper), rtol=1e-12)


# Arguments

CLUSTERS = jaxem.models.MixtureParams(
    jnp.array([0.4, 0.6]), jaxem.families.GaussianParams(jnp.array([[2.0, 55], [4, 80]]), jnp.stack([jnp.eye(2)] * 2))
)


def test_names():
    model, params = jaxem.GaussianMixture(2), CLUSTERS
    for name, wanted in (("weights[1]", "weights[1]"), ("components.mean[-1, 0]", "components.mean[1, 0]")):
        found = scalar(model, params, name, None)
        assert found.name == wanted
    leaf = params.components.covariance
    assert scalar(model, params, "components.covariance[1, 0, 1]", None).fn(params) == leaf[1, 0, 1]
    scales = [scalar(model, params, f"components.covariance[0, 0, {i}]", None).scale for i in (0, 1)]
    assert scales == ["log", "identity"]
    assert scalar(model, params, "weights[0]", None).scale == "logit"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weight[0]", "no parameter; there are weights"),
        ("weights", "2 indices|1 indices"),
        ("weights[2]", "out of range"),
        ("weights[a]", "whole numbers"),
        ("components.mean[0]", "2 indices"),
        (3, "must be that of a parameter"),
        (lambda p: p.weights, "one real number"),
    ],
)
def test_wrong_names(name, words):
    model, params, x = jaxem.GaussianMixture(2), CLUSTERS, jnp.asarray(jaxem.datasets.old_faithful().data)
    with pytest.raises(jaxem.DataError, match=words):
        profile(model, params, x, name)


def test_wrong_arguments():
    model, params, x = poisson(COUNTS)
    for words, given in {
        "level must be": {"level": 95},
        "scale must be": {"scale": "root"},
        "num_points must be at least 7": {"num_points": 3},
        "between 0 and inf": {"values": [1.0, -1.0]},
        "list of numbers": {"values": [[1.0]]},
    }.items():
        with pytest.raises(jaxem.DataError, match=words):
            profile(model, params, x, "rate", **given)
    with pytest.raises(jaxem.DataError, match="does not depend"):
        profile(model, params, x, lambda p: jnp.ones(()))
    with pytest.raises(jaxem.DataError, match="does not fit"):
        profile(model, params, x, lambda p: -p.rate[0], scale="log")
    with pytest.raises(jaxem.FitError, match="standard errors away"):
        profile(model, jaxem.families.PoissonParams(jnp.array([5.0])), x, "rate")
    with pytest.raises(jaxem.DataError, match="traced"):
        jax.jit(lambda p: profile(model, p, x, "rate").values)(params)


def test_it_is_public():
    assert jaxem.profile is profile
