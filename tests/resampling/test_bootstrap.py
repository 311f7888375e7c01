"""The bootstrap against closed forms, published intervals, and the laws of its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.families import GaussianParams, PoissonParams
from jaxem.information._scales import reflected
from jaxem.models import MixtureParams
from jaxem.resampling._draws import units_of, weights_of

KEY = jax.random.key(1)
RNG = np.random.default_rng(11)
X = RNG.gamma(2.0, 3.0, (40, 1))
MODEL = jaxem.Single(jaxem.Gaussian("diagonal"))
B = 400

# Efron and Tibshirani (1993), "spatial test data", A of 26 children: table 14.1, and section 14.3.
SPATIAL = np.array(
    [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41.0]
)[:, None]


def maximum(x):
    return GaussianParams(jnp.asarray(x.mean(0)), jnp.asarray(x.var(0)))


@pytest.fixture(scope="module")
def drawn():
    return jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B)


def close_to(values, standard_error, count=B):
    """Whether the standard deviation of replicates is that one, to four Monte Carlo standard errors."""
    kurtosis = np.mean((values - values.mean()) ** 4) / values.var() ** 2
    assert abs(values.std(ddof=1) / standard_error - 1) < 4 * np.sqrt((kurtosis - 1) / (4 * count))


def test_each_replicate_is_the_weighted_estimate(drawn):
    weights = weights_of(units_of(len(X), None, None, None), jax.random.split(KEY)[0], range(B), exact=True)
    mean = weights @ X[:, 0] / len(X)
    variance = (weights * (X[:, 0] - mean[:, None]) ** 2).sum(1) / len(X)
    np.testing.assert_allclose(drawn.params.mean[:, 0], mean, rtol=1e-12)
    np.testing.assert_allclose(drawn.params.covariance[:, 0], variance, rtol=1e-9)
    assert jaxem.status_name(drawn.status) == ["converged"] * B
    density = -len(X) / 2 * (np.log(2 * np.pi * variance) + 1)
    np.testing.assert_allclose(drawn.log_likelihood, density, rtol=1e-9)


def test_standard_errors(drawn):
    mean, variance = np.asarray(drawn.params.mean)[:, 0], np.asarray(drawn.params.covariance)[:, 0]
    close_to(mean, X.std() / np.sqrt(len(X)))
    np.testing.assert_allclose(drawn.standard_errors.mean, [mean.std(ddof=1)], rtol=1e-12)
    np.testing.assert_allclose(drawn.bias.covariance, [variance.mean() - X.var()], rtol=1e-9)
    np.testing.assert_allclose(drawn.covariance, np.cov(mean, variance), rtol=1e-12)


def test_weights_in_the_place_of_counts():
    drawn = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B, kind="weighted")
    close_to(np.asarray(drawn.params.mean)[:, 0], X.std() / np.sqrt(len(X) + 1))
    with pytest.raises(jaxem.DataError, match="'bca' is for samples of rows, kind='nonparametric'"):
        drawn.interval(method="bca")


@pytest.mark.slow
def test_data_drawn_from_the_model():
    drawn = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B, kind="parametric")
    close_to(np.asarray(drawn.params.mean)[:, 0], X.std() / np.sqrt(len(X)))
    # The variance of normal data: chi-square with n - 1 degrees of freedom.
    close_to(np.asarray(drawn.params.covariance)[:, 0], X.var() * np.sqrt(2 * (len(X) - 1)) / len(X))
    heavier = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B, kind="parametric", weights=np.full(40, 2.0))
    close_to(np.asarray(heavier.params.mean)[:, 0], X.std() / np.sqrt(2 * len(X)))


def test_groups_and_strata():
    groups = np.repeat(np.arange(10), 4)
    drawn = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B, groups=groups)
    close_to(np.asarray(drawn.params.mean)[:, 0], X.reshape(10, 4).mean(1).std() / np.sqrt(10))
    strata = np.argsort(np.argsort(X[:, 0])) // 20
    layered = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=B, strata=strata)
    within = np.mean([X[strata == s].var() for s in (0, 1)])
    close_to(np.asarray(layered.params.mean)[:, 0], np.sqrt(within / len(X)))


# Intervals


def test_percentile_and_basic_intervals(drawn):
    variance, found = np.asarray(drawn.params.covariance), drawn.interval(0.9)
    low, high = np.quantile(variance, [0.05, 0.95], axis=0, method="weibull")
    np.testing.assert_allclose(found.lower.covariance, low, rtol=1e-12)
    np.testing.assert_allclose(found.upper.covariance, high, rtol=1e-12)
    basic = drawn.interval(0.9, "basic")
    assert basic.scales == {"mean": "identity", "covariance": "log"}
    np.testing.assert_allclose(basic.lower.covariance, X.var(0) ** 2 / high, rtol=1e-9)
    np.testing.assert_allclose(basic.upper.covariance, X.var(0) ** 2 / low, rtol=1e-9)
    means = np.quantile(drawn.params.mean, 0.05, axis=0, method="weibull")
    np.testing.assert_allclose(basic.upper.mean, 2 * X.mean(0) - means, rtol=1e-9)


@pytest.mark.slow
def test_the_interval_of_a_published_variance():
    drawn = jaxem.bootstrap(MODEL, maximum(SPATIAL), SPATIAL, key=KEY, replicates=2000)
    np.testing.assert_allclose(drawn.estimate.covariance, [171.5], atol=0.05)
    variance = drawn.of(lambda p: p.covariance[0])
    np.testing.assert_allclose(variance.acceleration(), [0.061], atol=5e-4)
    found = variance.interval(0.9, "bca")
    # Published (115.8, 259.6), from 2000 replicates; the standard errors of its ends are about 3 and 5.
    np.testing.assert_allclose(found.lower, 115.8, atol=9)
    np.testing.assert_allclose(found.upper, 259.6, atol=15)
    np.testing.assert_allclose(drawn.interval(0.9, "bca").lower.covariance, [found.lower], rtol=1e-12)
    # A function that grows with it takes the ends along.
    deviation = drawn.of(lambda p: jnp.sqrt(p.covariance[0]))
    np.testing.assert_allclose(deviation.interval(0.9).upper ** 2, variance.interval(0.9).upper, rtol=1e-3)


def test_basic_intervals_of_probabilities_on_and_off_their_bounds():
    value, other = np.array([0.2, 1e-18, 1.0, 0.5]), np.array([0.1, 1e-33, 0.97, 0.5])
    odds = (0.2 / 0.8) ** 2 / (0.1 / 0.9)
    np.testing.assert_allclose(reflected(value, other, "logit"), [odds / (1 + odds), 0, 1, 0.5], atol=1e-12)
    matrix, drawn = np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([[2.0, 0.5], [0.5, 8.0]])
    np.testing.assert_allclose(reflected(matrix, drawn, "log diagonal"), [[8.0, 1.5], [1.5, 0.5]], rtol=1e-12)


@pytest.mark.slow
def test_the_acceleration_of_rows_and_of_groups():
    """That of the mean is a sixth of the skewness of what is drawn, over the root of their number."""

    def skew(values):
        centred = values - values.mean()
        return np.sum(centred**3) / 6 / np.sum(centred**2) ** 1.5

    def of_mean(**drawing):
        drawn = jaxem.bootstrap(MODEL, maximum(X), X, key=KEY, replicates=2, **drawing)
        return drawn.of(lambda p: p.mean[0]).acceleration()[0]

    np.testing.assert_allclose(of_mean(), skew(X[:, 0]), rtol=1e-6)
    order = RNG.permutation(40)
    np.testing.assert_allclose(of_mean(groups=order), skew(X[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(of_mean(groups=np.repeat(np.arange(10), 4)), skew(X.reshape(10, 4).mean(1)), rtol=1e-6)
    strata = np.argsort(np.argsort(X[:, 0])) // 20
    parts = [X[strata == s, 0] - X[strata == s, 0].mean() for s in (0, 1)]
    layered = sum(np.sum(p**3) for p in parts) / 6 / sum(np.sum(p**2) for p in parts) ** 1.5
    np.testing.assert_allclose(of_mean(strata=strata), layered, rtol=1e-6)
    np.testing.assert_allclose(of_mean(strata=strata, groups=order), layered, rtol=1e-6)


@pytest.mark.slow
def test_what_is_frozen_has_no_spread():
    model = jaxem.Single(jaxem.Gaussian("diagonal"), frozen=("covariance",))
    drawn = jaxem.bootstrap(model, maximum(X), X, key=KEY, replicates=50)
    assert drawn.standard_errors.covariance == drawn.covariance[1, 1] == 0
    np.testing.assert_allclose(drawn.bias.covariance, 0, atol=1e-14 * X.var())
    for method in ("percentile", "basic", "bca"):
        found = drawn.interval(method=method)
        np.testing.assert_allclose(found.lower.covariance, X.var(0), rtol=1e-9)
        np.testing.assert_allclose(found.upper.covariance, X.var(0), rtol=1e-9)
        assert (found.lower.mean < found.upper.mean).all()


# Members, failures, and what is refused

COUNTS = RNG.poisson(RNG.choice([1.0, 12.0], (60, 1), p=[0.4, 0.6])).astype(float)
MIXTURE = jaxem.Mixture(jaxem.Poisson(), 2)
RATES = MixtureParams(jnp.array([0.4, 0.6]), PoissonParams(jnp.array([[1.0], [12.0]])))


@pytest.mark.slow
def test_members_come_in_the_order_of_the_fit():
    drawn = jaxem.bootstrap(MIXTURE, RATES, COUNTS, key=KEY, replicates=40, restarts=2)
    rate = np.asarray(drawn.params.components.rate)[:, :, 0]
    assert (rate[:, 0] < 4).all()
    assert (rate[:, 1] > 8).all()
    weights = weights_of(units_of(60, None, None, None), jax.random.split(KEY)[0], range(40), exact=True)
    # EM of one mean of all counts, at any maximum.
    np.testing.assert_allclose((drawn.params.weights * rate).sum(1), weights @ COUNTS[:, 0] / 60, rtol=1e-5)


@pytest.mark.slow
def test_the_order_of_the_fit_is_any():
    fit = jaxem.fit(MIXTURE, COUNTS, key=KEY, init=RATES)
    drawn = jaxem.bootstrap(MIXTURE, fit.params, COUNTS, key=KEY, replicates=40, restarts=2)
    rate = np.asarray(drawn.params.components.rate)[:, :, 0]
    turned = MIXTURE.permuted(fit.params, np.array([1, 0], np.int32))
    other = jaxem.bootstrap(MIXTURE, turned, COUNTS, key=KEY, replicates=40, restarts=2)
    np.testing.assert_allclose(np.asarray(other.params.components.rate)[:, ::-1, 0], rate, rtol=1e-3)
    errors = jaxem.information.observed(MIXTURE, fit.params, COUNTS).standard_errors
    np.testing.assert_allclose(drawn.standard_errors.components.rate, errors.components.rate, rtol=0.6)


def test_failures_are_counted_and_left_in():
    drawn = jaxem.bootstrap(MIXTURE, RATES, COUNTS, key=KEY, replicates=40, max_steps=1)
    assert drawn.num_failed == 40
    assert repr(drawn) == "Bootstrap(nonparametric, 40 replicates, 40 failed)"
    assert drawn.params.weights.shape == (40, 2)
    assert (np.asarray(drawn.standard_errors.weights) > 0).all()
    with pytest.raises(jaxem.DataError, match="0 of 40 refits converged"):
        drawn.without_failed()
    sound = jaxem.bootstrap(MIXTURE, RATES, COUNTS, key=KEY, replicates=40, max_steps=5)
    left = sound.without_failed()
    assert 0 < sound.num_failed < 40
    assert (left.num_failed, len(left.log_likelihood)) == (0, 40 - sound.num_failed)
    kept = ~sound.failed
    np.testing.assert_array_equal(left.params.weights, np.asarray(sound.params.weights)[kept])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "jackknife"}, "kind must be one of"),
        ({"replicates": 1}, "replicates must be at least 2"),
        ({"restarts": -1}, "restarts must be at least 0"),
        ({"key": 0}, "key must be a JAX random key"),
        ({"strata": np.zeros(3)}, "strata must be 60 labels"),
        ({"weights": np.full(60, 0.33)}, r"weights sum to 19\.8"),
        ({"weights": np.full(60, 0.5), "kind": "parametric"}, r"weights: row 0 has weight 0\.5"),
        ({"groups": np.arange(60), "kind": "parametric"}, "groups are for samples of rows"),
        ({"data": np.zeros((60, 2))}, "data has"),
        ({"params": RATES._replace(weights=jnp.array([0.5, 0.6]))}, r"params\.weights"),
    ],
)
def test_what_is_refused(arguments, message):
    given = {"params": RATES, "data": COUNTS, "key": KEY, "replicates": 5, **arguments}
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.bootstrap(MIXTURE, given.pop("params"), given.pop("data"), **given)


def test_what_intervals_refuse(drawn):
    with pytest.raises(jaxem.DataError, match="level must be a number between 0 and 1"):
        drawn.interval(95)
    with pytest.raises(jaxem.DataError, match="method must be one of"):
        drawn.interval(method="normal")


def test_not_under_a_trace():
    with pytest.raises(jaxem.DataError, match=r"data is traced: jaxem\.bootstrap"):
        jax.jit(lambda x: jaxem.bootstrap(MIXTURE, RATES, x, key=KEY).params)(COUNTS)
