"""Likelihood-ratio tests: the statistic, the p value and its error, stopping, and what goes wrong."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import likelihood_ratio_test
from jaxem.resampling import LikelihoodRatioTest, LocalOptimumWarning
from jaxem.resampling._likelihood_ratio import _counted, _Refits

KEY = jax.random.key(4)
RNG = np.random.default_rng(8)
ONE, TWO = jaxem.Mixture(jaxem.Poisson(), 1), jaxem.Mixture(jaxem.Poisson(), 2)
APART = RNG.poisson(np.repeat([1.0, 25.0], 20)[:, None]).astype(float)
TOGETHER = RNG.poisson(4.0, (40, 1)).astype(float)
OPTIONS = {"key": KEY, "replicates": 19, "restarts": 2}


@pytest.fixture(scope="module")
def apart():
    return likelihood_ratio_test(ONE, TWO, APART, **OPTIONS)


@pytest.fixture(scope="module")
def together():
    return likelihood_ratio_test(ONE, TWO, TOGETHER, **OPTIONS)


def test_the_statistic_is_that_of_two_fits(apart):
    null = stats.poisson.logpmf(APART, APART.mean()).sum()
    fit = jaxem.fit(TWO, APART, key=jax.random.key(9), restarts=4)
    np.testing.assert_allclose(apart.statistic, 2 * (float(fit.log_likelihood) - null), rtol=1e-6)
    np.testing.assert_allclose(apart.null.log_likelihood, null, rtol=1e-9)
    assert (apart.degrees_of_freedom, apart.method, apart.stopped) == (2, "bootstrap", False)


def test_what_no_sample_reaches_has_the_least_p_value(apart):
    assert (apart.replicates < apart.statistic).all()
    assert apart.p_value == pytest.approx(1 / 20)
    assert apart.p_value_error == pytest.approx(np.sqrt(0.05 * 0.95 / 19))
    assert apart.num_negative == 0


def test_the_p_value_counts_samples(together):
    exceeded = int((together.replicates >= together.statistic).sum())
    assert exceeded > 3
    assert together.p_value == pytest.approx((1 + exceeded) / 20)
    assert (together.replicates > -1e-6).all()


def test_it_stops_once_enough_samples_exceed(together):
    test = likelihood_ratio_test(ONE, TWO, TOGETHER, stop_after=3, **OPTIONS)
    count = len(test.replicates)
    assert test.stopped
    assert count < 19
    np.testing.assert_allclose(test.replicates, together.replicates[:count], atol=1e-6)
    assert (test.replicates >= test.statistic).sum() == 3
    assert test.replicates[-1] >= test.statistic
    assert test.p_value == pytest.approx(3 / count)


def blocks():
    """Two blocks of three samples; the statistic of one is no number."""
    parts = np.split(np.array([1.0, 5.0, np.nan, 4.0, 9.0, 2.0]), 2)
    for values in parts:
        yield _Refits(values, np.isnan(values), values < 1.5)
    raise AssertionError("asked for more samples than it takes")


@pytest.mark.parametrize(("stop_after", "count", "p"), [(1, 2, 1 / 2), (2, 3, 2 / 3), (3, 4, 3 / 4), (4, 5, 4 / 5)])
def test_what_is_no_number_counts_as_exceeding(stop_after, count, p):
    test = LikelihoodRatioTest(4.0, 1.0, 0.0, 2, "bootstrap", None, None, np.zeros(0))
    found = _counted(test, blocks(), stop_after)
    assert (len(found.replicates), found.stopped, found.p_value) == (count, True, pytest.approx(p))
    assert (found.num_failed, found.num_negative) == (int(count > 2), 1)
    assert found.p_value_error == pytest.approx(np.sqrt(p * (1 - p) / count))
    whole = _counted(test, itertools.islice(blocks(), 2), 5)
    assert (len(whole.replicates), whole.stopped, whole.p_value) == (6, False, pytest.approx(5 / 7))


def test_starts_that_race_find_the_same_maxima():
    racing, options = jaxem.termination.Racing(steps=4, finalists=1), {**OPTIONS, "restarts": 4}
    raced = likelihood_ratio_test(ONE, TWO, TOGETHER, racing=racing, **options)
    whole = likelihood_ratio_test(ONE, TWO, TOGETHER, **options)
    assert (np.asarray(jaxem.status_name(raced.alternative.restarts.status)) == "eliminated").any()
    np.testing.assert_allclose(raced.replicates, whole.replicates, atol=1e-2)


@pytest.mark.slow
def test_the_same_key_gives_the_same_answer(apart, together):
    again = likelihood_ratio_test(ONE, TWO, TOGETHER, lanes=5, **OPTIONS)
    np.testing.assert_allclose(again.replicates, together.replicates, atol=1e-6)
    other = likelihood_ratio_test(ONE, TWO, TOGETHER, **{**OPTIONS, "key": jax.random.key(5)})
    assert np.abs(other.replicates - together.replicates).max() > 1e-3
    values, counts = np.unique(TOGETHER, return_counts=True)
    counted = likelihood_ratio_test(ONE, TWO, values[:, None], weights=counts, **OPTIONS)
    np.testing.assert_allclose(counted.statistic, together.statistic, atol=1e-6)


@pytest.mark.slow
def test_failures_are_counted():
    test = likelihood_ratio_test(ONE, TWO, APART, max_steps=1, **OPTIONS)
    assert test.num_failed == 19
    assert len(test.replicates) == 19


def test_a_fit_that_is_worse_than_the_null_hypothesis_says_so():
    with pytest.warns(LocalOptimumWarning, match=r"is worse than that of the null hypothesis, by .*restarts=2"):
        test = likelihood_ratio_test(TWO, ONE, APART, **OPTIONS)
    assert test.statistic < -10
    assert test.num_negative == 19


@pytest.mark.slow
def test_states_of_a_chain():
    """Two states that follow each other, where a mixture sees one distribution."""
    steps = np.tile(np.repeat([1.0, 9.0], 8), 2) + RNG.integers(0, 2, 32)
    one, two = (jaxem.HMM(jaxem.Poisson(), k) for k in (1, 2))
    test = likelihood_ratio_test(one, two, steps[None, :, None], key=KEY, replicates=9, restarts=1, max_steps=50)
    assert test.p_value == pytest.approx(1 / 10)
    assert test.degrees_of_freedom == 4


@pytest.mark.slow
def test_published_numbers_of_components():
    """Scrucca, Fop, Murphy and Raftery (2016), The R Journal 8(1): 1 against 2 components of Old Faithful, 319.0654."""
    x = jaxem.datasets.old_faithful().data
    one, two = jaxem.GaussianMixture(1), jaxem.GaussianMixture(2)
    test = likelihood_ratio_test(one, two, x, key=KEY, replicates=39, restarts=4)
    assert test.statistic == pytest.approx(319.0654, abs=5e-4)
    assert test.p_value == pytest.approx(1 / 40)


# Chi-square


@pytest.mark.slow
def test_wilks():
    x = RNG.normal(size=(50, 2)) * np.array([1.0, 1.4])
    null, alternative = (jaxem.Single(jaxem.Gaussian(kind)) for kind in ("spherical", "diagonal"))
    test = likelihood_ratio_test(null, alternative, x, key=KEY, method="wilks", restarts=1)
    variance = x.var(0)
    statistic = 50 * (2 * np.log(variance.mean()) - np.log(variance).sum())
    np.testing.assert_allclose(test.statistic, statistic, rtol=1e-6)
    np.testing.assert_allclose(test.p_value, stats.chi2.sf(statistic, 1), rtol=1e-6)
    assert (test.degrees_of_freedom, test.p_value_error, len(test.replicates)) == (1, 0.0, 0)
    with pytest.raises(jaxem.DataError, match="alternative has 0 parameters more than null"):
        likelihood_ratio_test(null, null, x, key=KEY, method="wilks", restarts=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "wilks"}, "null has 1 members and alternative 2"),
        ({"method": "score"}, "method must be one of 'bootstrap', 'wilks'"),
        ({"stop_after": 20}, "stop_after must be at most 19"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"key": 3}, "key must be"),
        ({"null": jaxem.Poisson()}, "null is"),
    ],
)
def test_what_is_refused(arguments, message):
    given = {"null": ONE, "alternative": TWO, "data": APART, **OPTIONS, **arguments}
    with pytest.raises(jaxem.DataError, match=message):
        likelihood_ratio_test(given.pop("null"), given.pop("alternative"), given.pop("data"), **given)
