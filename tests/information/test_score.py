"""Score tests against closed forms, and against Wald's and the likelihood-ratio test in large samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem.information import observed, score_test

COUNTS = jnp.array([0.0, 1, 1, 2, 3, 3, 5, 9])[:, None]


def rate(value):
    return jaxem.families.PoissonParams(jnp.array([value]))


@pytest.mark.parametrize("method", ["oakes", "hessian"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_poisson_rate(method, dtype):
    model = jaxem.Single(jaxem.Poisson())
    test = score_test(model, rate(2.0), COUNTS.astype(dtype), "rate", method=method)
    np.testing.assert_allclose(test.statistic, (24 - 16) ** 2 / 16, rtol=1e-9 if dtype == "float64" else 1e-5)
    np.testing.assert_allclose(test.p_value, stats.chi2.sf(4, 1), rtol=1e-9 if dtype == "float64" else 1e-4)
    assert test.degrees_of_freedom == 1


def test_outer_products():
    model = jaxem.Single(jaxem.Poisson())
    test = score_test(model, rate(2.0), COUNTS, lambda p: p.rate - 2, method="scores")
    away = np.asarray(COUNTS)[:, 0] - 2
    np.testing.assert_allclose(test.statistic, away.sum() ** 2 / np.sum(away**2), rtol=1e-10)


def test_binomial_proportion_by_weights():
    model, x = jaxem.Single(jaxem.Bernoulli()), jnp.array([[1.0], [0.0], [1.0]])
    half = jaxem.families.BernoulliParams(jnp.array([0.4]))
    test = score_test(model, half, x, "probability[0]", weights=jnp.array([30.0, 20.0, 0.0]))
    np.testing.assert_allclose(test.statistic, (30 - 20) ** 2 / (50 * 0.4 * 0.6), rtol=1e-10)


def test_two_proportions_are_pearsons_chi_square():
    """A logistic regression on one indicator, at the fit without it."""
    counts = np.array([[30.0, 20], [18, 32]])
    z = jnp.array([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    w = jnp.asarray(counts.ravel())
    model = jaxem.Single(jaxem.families.BinomialRegression())
    rows = jaxem.Responses(z, jnp.array([1.0, 0, 1, 0]), jnp.ones(4))
    pooled = counts[:, 0].sum() / counts.sum()
    null = jaxem.families.GLMParams(jnp.array([np.log(pooled / (1 - pooled)), 0.0]))
    test = score_test(model, null, rows, "coefficients[1]", weights=w)
    wanted = stats.chi2_contingency(counts, correction=False)
    np.testing.assert_allclose((test.statistic, test.p_value), (wanted[0], wanted[1]), rtol=1e-8)


def overlapping(n=4000):
    rng = np.random.default_rng(2)
    second = rng.random(n) < 0.4
    x = np.where(second, rng.normal(3.0, 1.0, n), rng.normal(0.0, 1.0, n))[:, None]
    return jaxem.GaussianMixture(2, "diagonal"), jnp.asarray(x)


def test_of_a_mixture_it_agrees_with_wald_and_the_likelihood_ratio():
    model, x = overlapping()
    params = jaxem.fit(model, x, key=jax.random.key(0), restarts=2, tol=1e-14, max_steps=5000).params

    def gap(p):
        return jnp.abs(p.components.mean[1, 0] - p.components.mean[0, 0])

    away = observed(model, params, x).delta(gap)
    value = float(away.value) - 1.5 * float(away.standard_error)
    null = jaxem.profile(model, params, x, gap, values=[value], num_points=7)
    ratio = float(null.deviance[0])
    fitted = jax.tree.map(lambda leaf: leaf[0], null.params)
    wald = observed(model, params, x).wald(lambda p: gap(p) - value)
    for method, slack in (("oakes", 0.1), ("scores", 0.15)):
        test = score_test(model, fitted, x, lambda p: gap(p) - value, method=method)
        assert test.degrees_of_freedom == 1
        np.testing.assert_allclose(test.statistic, ratio, rtol=slack)
    np.testing.assert_allclose(wald.statistic, ratio, rtol=0.15)
    assert ratio > 1  # there is something to compare
    # At the maximum itself there is no slope.
    np.testing.assert_allclose(score_test(model, params, x, "components.mean").statistic, 0, atol=1e-6)
    assert score_test(model, params, x, ("components.mean", "weights[0]")).degrees_of_freedom == 3
    with pytest.raises(jaxem.FitError, match="no fit of the hypothesis"):
        score_test(model, jax.tree.map(lambda a: a * 1.02, fitted)._replace(weights=fitted.weights), x, "weights[0]")


def test_refusals():
    model = jaxem.Single(jaxem.Poisson())
    with pytest.raises(jaxem.DataError, match="does not hold at params: it is -1"):
        score_test(model, rate(2.0), COUNTS, lambda p: p.rate - 3)
    with pytest.raises(jaxem.DataError, match="method must be"):
        score_test(model, rate(2.0), COUNTS, "rate", method="sem")
    with pytest.raises(jaxem.DataError, match="no parameter"):
        score_test(model, rate(2.0), COUNTS, "mean")
    with pytest.raises(jaxem.DataError, match="out of range"):
        score_test(model, rate(2.0), COUNTS, "rate[1]")
    with pytest.raises(jaxem.DataError, match="does not depend"):
        score_test(model, rate(2.0), COUNTS, lambda p: jnp.zeros(()))
    with pytest.raises(jaxem.DataError, match="a function, a name"):
        score_test(model, rate(2.0), COUNTS, [3])


def test_far_from_the_alternative_the_observed_information_may_be_none():
    model, x = jaxem.Single(jaxem.Gaussian("diagonal")), jnp.array([[-0.1], [0.1], [0.2]])
    # The curvature in the logarithm of the variance is that of x^2 / variance, which is positive; in the mean it is
    # too. A mixture at equal means is a saddle.
    params = jaxem.families.GaussianParams(jnp.array([0.1]), jnp.array([1.0]))
    test = score_test(model, params, x, "covariance")
    assert test.statistic > 0
    mixture = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("weights",))
    y = jnp.array([0.0, 0, 0, 9, 10, 11])[:, None]
    same = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]), jaxem.families.PoissonParams(jnp.full((2, 1), float(y.mean())))
    )
    with pytest.raises(jaxem.FitError, match='method="scores"'):
        score_test(mixture, same, y, lambda p: p.components.rate[0] - p.components.rate[1])
