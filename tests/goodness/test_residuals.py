"""Pseudo-residuals against SciPy's quantiles, and sums over all paths of states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families, goodness
from tests.goodness.laws import LAWS, mixture, values, wanted
from tests.helpers import chains

KEY = jax.random.key(0)
BY_NAME = {law.name: law for law in LAWS}


def test_values_with_a_density_have_one_residual():
    law = BY_NAME["gaussian"]
    model, params = mixture(law)
    x = values(law)
    found = goodness.pseudo_residuals(model, params, x[:, None])
    np.testing.assert_allclose(found.value, stats.norm.ppf(wanted(law, "cdf", x)), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(found.value, found.lower)
    np.testing.assert_array_equal(found.value, found.upper)
    drawn = goodness.pseudo_residuals(model, params, x[:, None], key=KEY)
    np.testing.assert_array_equal(drawn.value, found.value)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_count_takes_up_a_segment(dtype):
    law = BY_NAME["poisson"]
    model, params = mixture(law, dtype)
    x = np.array([0, 1, 5, 12, 20])
    found = goodness.pseudo_residuals(model, params, x[:, None].astype(dtype))
    low, high = wanted(law, "cdf", x - 1), wanted(law, "cdf", x)
    rtol = 1e-7 if dtype == "float64" else 2e-4
    np.testing.assert_allclose(found.lower, stats.norm.ppf(low), rtol=rtol)
    np.testing.assert_allclose(found.upper, stats.norm.ppf(high), rtol=rtol)
    np.testing.assert_allclose(found.value, stats.norm.ppf((low + high) / 2), rtol=rtol)
    drawn = goodness.pseudo_residuals(model, params, x[:, None].astype(dtype), key=KEY)
    assert ((drawn.value > found.lower) & (drawn.value < found.upper)).all()
    again = goodness.pseudo_residuals(model, params, x[:, None].astype(dtype), key=KEY)
    np.testing.assert_array_equal(drawn.value, again.value)


@pytest.mark.slow
def test_far_values_have_finite_residuals_in_single_precision():
    model = jaxem.Single(jaxem.Gaussian())
    params = families.GaussianParams(jnp.zeros(1, "float32"), jnp.ones((1, 1), "float32"))
    x = np.array([[-100.0], [-8.0], [0.0], [8.0], [100.0]], "float32")
    np.testing.assert_allclose(goodness.pseudo_residuals(model, params, x).value, x[:, 0], rtol=1e-5, atol=1e-6)


def test_values_in_intervals_take_up_a_segment():
    model = jaxem.Single(families.CensoredWeibull())
    params = families.WeibullParams(jnp.array([1.7]), jnp.array([3.0]))
    data = jaxem.Interval(np.array([1.0, 2.0, -np.inf, 2.0]), np.array([1.0, np.inf, 0.5, 4.0]))
    found = goodness.pseudo_residuals(model, params, data)
    law = stats.weibull_min(1.7, scale=3)
    low, high = law.cdf([1, 2, 0, 2]), law.cdf([1, np.inf, 0.5, 4])
    np.testing.assert_allclose(found.lower, stats.norm.ppf(low))
    np.testing.assert_allclose(found.upper, stats.norm.ppf(high))
    np.testing.assert_allclose(found.value, stats.norm.ppf((low + high) / 2))


@pytest.mark.slow
def test_responses_at_a_limit_take_up_a_segment():
    model = jaxem.models.Tobit(lower=0.0)
    params = families.RegressionParams(jnp.array([0.2, 1.0]), jnp.array(0.5))
    rows = jaxem.Responses(np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0.0, 1.5]))
    found = goodness.pseudo_residuals(model, params, rows)
    z = (np.array([0.0, 1.5]) - [-0.8, 1.2]) / np.sqrt(0.5)
    np.testing.assert_allclose(found.upper, z)
    assert found.lower[0] == -np.inf
    assert found.lower[1] == found.value[1] == found.upper[1]


@pytest.mark.slow
def test_residuals_of_the_right_model_are_standard_normal():
    law = BY_NAME["negative-binomial"]
    model, params = mixture(law)
    x, _ = model.sample(jax.random.key(3), params, 2000)
    residuals = goodness.pseudo_residuals(model, params, x, key=KEY).value
    assert stats.kstest(np.asarray(residuals), "norm").pvalue > 0.05
    wrong = params._replace(weights=jnp.array([0.8, 0.2]))
    residuals = goodness.pseudo_residuals(model, wrong, x, key=KEY).value
    assert stats.kstest(np.asarray(residuals), "norm").pvalue < 1e-6


@pytest.mark.slow
def test_missing_entries_have_none():
    model = jaxem.Single(jaxem.Incomplete(jaxem.Gaussian()))
    params = families.GaussianParams(jnp.zeros(2), jnp.array([[4.0, 1.0], [1.0, 1.0]]))
    x = np.array([[1.0, np.nan], [np.nan, 2.0]])
    np.testing.assert_allclose(goodness.pseudo_residuals(model, params, x).value, [0.5, np.nan])
    np.testing.assert_allclose(goodness.pseudo_residuals(model, params, x, column=1).value, [np.nan, 2.0])


# Steps of sequences

RATE = np.array([2.0, 6.0])
INITIAL, TRANSITION = np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.4, 0.6]])


def hmm(dtype=float):
    params = jaxem.models.HMMParams(
        jnp.asarray(INITIAL, dtype),
        jnp.asarray(TRANSITION, dtype),
        families.PoissonParams(jnp.asarray(RATE[:, None], dtype)),
    )
    return jaxem.HMM(jaxem.Poisson(), 2), params


def by_paths(x, t, used, upto):
    """The probability of at most `upto` at step `t`, given the steps `used`: a sum over all paths."""
    above = total = 0.0
    for path in itertools.product(range(2), repeat=len(x)):
        p = INITIAL[path[0]] * np.prod([TRANSITION[a, b] for a, b in itertools.pairwise(path)])
        p *= np.prod([stats.poisson.pmf(x[s], RATE[path[s]]) for s in used])
        total += p
        above += p * stats.poisson.cdf(upto, RATE[path[t]])
    return above / total


@pytest.mark.parametrize("kind", ["ordinary", pytest.param("forecast", marks=pytest.mark.slow)])
def test_steps_are_compared_with_the_others(kind):
    model, params = hmm()
    x = np.array([[1, 7, 0, 4], [3, 3, 9, 2]])
    found = goodness.pseudo_residuals(model, params, x[..., None].astype(float), kind=kind)
    for i, t in np.ndindex(2, 4):
        used = [s for s in range(4) if s != t] if kind == "ordinary" else range(t)
        low, high = (by_paths(x[i], t, used, upto) for upto in (x[i, t] - 1, x[i, t]))
        np.testing.assert_allclose(found.lower[i, t], stats.norm.ppf(low), rtol=1e-8)
        np.testing.assert_allclose(found.upper[i, t], stats.norm.ppf(high), rtol=1e-8)
        np.testing.assert_allclose(found.value[i, t], stats.norm.ppf((low + high) / 2), rtol=1e-8)


@pytest.mark.slow
def test_steps_that_were_not_observed_say_nothing():
    model, params = hmm()
    x = np.array([[1, 7, 0, 4], [3, 9, 5, 5]])
    observed = np.array([[1, 1, 0, 1], [1, 1, 1, 1]], bool)
    data = jaxem.Sequences(x[..., None].astype(float), np.array([4, 2]), observed)
    found = goodness.pseudo_residuals(model, params, data)
    assert np.isnan(found.value).tolist() == [[False, False, True, False], [False, False, True, True]]
    for t in (0, 1, 3):
        used = [s for s in (0, 1, 3) if s != t]
        np.testing.assert_allclose(found.upper[0, t], stats.norm.ppf(by_paths(x[0], t, used, x[0, t])), rtol=1e-8)
    np.testing.assert_allclose(found.upper[1, 0], stats.norm.ppf(by_paths(x[1, :2], 0, [1], 3)), rtol=1e-8)


@pytest.mark.slow
def test_residuals_of_the_earthquakes_by_the_formula_of_the_book():
    x = np.array(chains.EARTHQUAKES)
    rate, gamma = np.array([13.1457, 19.7211, 29.7144]), np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    initial = np.full(3, 1 / 3)
    params = jaxem.models.HMMParams(
        jnp.asarray(initial), jnp.asarray(gamma), families.PoissonParams(jnp.asarray(rate[:, None]))
    )
    model = jaxem.HMM(jaxem.Poisson(), 3)
    found = goodness.pseudo_residuals(model, params, x[None, :, None].astype(float))
    # Forward and backward probabilities, scaled; w of step t is the first times the transitions, times the second.
    p = stats.poisson.pmf(x[:, None], rate[None])
    alpha, beta = np.zeros((len(x), 3)), np.ones((len(x), 3))
    alpha[0] = initial * p[0]
    for t in range(1, len(x)):
        alpha[t] = alpha[t - 1] / alpha[t - 1].sum() @ gamma * p[t]
    for t in range(len(x) - 2, -1, -1):
        beta[t] = gamma @ (p[t + 1] * beta[t + 1])
        beta[t] /= beta[t].sum()
    w = np.stack([(initial if t == 0 else alpha[t - 1] @ gamma) * beta[t] for t in range(len(x))])
    w /= w.sum(1, keepdims=True)
    for bound, count in ((found.lower, x - 1), (found.upper, x)):
        u = np.sum(w * stats.poisson.cdf(count[:, None], rate[None]), 1)
        np.testing.assert_allclose(bound[0], stats.norm.ppf(u), rtol=1e-8)
    low = jax.tree.map(lambda leaf: leaf.astype("float32"), params)
    single = goodness.pseudo_residuals(model, low, x[None, :, None].astype("float32"))
    np.testing.assert_allclose(single.value, found.value, rtol=2e-3, atol=2e-3)


def test_states_given_others_leave_their_step_out():
    model, params = hmm()
    x = np.array([[[1.0], [7.0], [0.0]]])
    others = model.given_others(params, x)
    without = jaxem.Sequences(x, None, np.array([[True, False, True]]))
    np.testing.assert_allclose(others[0, 1], model.posterior(params, without)[0, 1], rtol=1e-10)
    np.testing.assert_allclose(model.given_past(params, x)[0, 0], INITIAL)
    np.testing.assert_allclose(model.given_past(params, x)[0, 2], model.forecast(params, x[:, :2])[0, 0], rtol=1e-10)


def test_what_is_refused():
    law = BY_NAME["gaussian"]
    model, params = mixture(law)
    with pytest.raises(jaxem.DataError, match="kind must be one of 'ordinary', 'forecast'"):
        goodness.pseudo_residuals(model, params, np.zeros((2, 1)), kind="other")
    with pytest.raises(jaxem.MissingCapabilityError, match="rows of Mixture are independent"):
        goodness.pseudo_residuals(model, params, np.zeros((2, 1)), kind="forecast")
    with pytest.raises(jaxem.DataError, match="column must be one of 0 to 0"):
        goodness.pseudo_residuals(model, params, np.zeros((2, 1)), column=1)


@pytest.mark.slow
def test_under_jit_nothing_changes():
    law = BY_NAME["poisson"]
    model, params = mixture(law)
    x = jnp.array([[0.0], [3.0], [11.0]])
    found = jax.jit(lambda params, x: goodness.pseudo_residuals(model, params, x).value)(params, x)
    np.testing.assert_allclose(found, goodness.pseudo_residuals(model, params, x).value)
