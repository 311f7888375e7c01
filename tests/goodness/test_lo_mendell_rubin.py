"""Weighted sums of chi-square variables against closed forms, and the test of Lo, Mendell and Rubin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families, goodness
from jaxem.goodness._weighted_chi2 import upper_tail

KEY = jax.random.key(0)

# Weighted sums


def test_sums_that_are_chi_square():
    for x in (0.1, 3.0, 25.0):
        assert upper_tail(x, np.ones(4)) == pytest.approx(stats.chi2.sf(x, 4))
        assert upper_tail(x, np.array([2.0, 2.0, 1e-14])) == pytest.approx(stats.chi2.sf(x / 2, 2))
        # Two chi-square variables of two degrees of freedom with weights a and b: a sum of exponentials.
        a, b = 3.0, 1.0
        wanted = (a * np.exp(-x / (2 * a)) - b * np.exp(-x / (2 * b))) / (a - b)
        assert upper_tail(x, np.array([a, a, b, b])) == pytest.approx(wanted, abs=1e-8)


def test_sums_with_negative_weights():
    assert upper_tail(0.0, np.array([1.0, -1.0])) == pytest.approx(0.5, abs=1e-8)
    # A difference of exponentials is Laplace's distribution.
    for x in (-2.0, 0.5, 4.0):
        wanted = stats.laplace(scale=2).sf(x)
        assert upper_tail(x, np.array([1.0, 1.0, -1.0, -1.0])) == pytest.approx(wanted, abs=1e-8)
    assert upper_tail(1.0, np.array([-1.0, -2.0])) == 0
    assert upper_tail(-1.0, np.array([1.0, 2.0])) == 1
    assert upper_tail(-1.0, np.array([-1.0])) == pytest.approx(stats.chi2.cdf(1, 1))
    assert (upper_tail(1.0, np.zeros(2)), upper_tail(-1.0, np.zeros(0))) == (0, 1)


@pytest.mark.slow
def test_single_weights_among_others_against_draws():
    weights = np.array([1.0, 0.4, 0.1, -0.3, 0.02])
    draws = np.random.default_rng(0).chisquare(1, (400_000, 5)) @ weights
    for x in (-0.5, 0.3, 2.0, 6.0):
        assert upper_tail(x, weights) == pytest.approx(np.mean(draws > x), abs=4e-3)


# Lo, Mendell and Rubin


@pytest.mark.slow
def test_of_regular_models_the_weighted_sum_is_nearly_chi_square():
    """Variances that are equal against variances that are not: Wilks's theorem holds, and so does Vuong's."""
    x = np.random.default_rng(5).normal(size=(4000, 3))
    mean, squares = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
    null, alternative = jaxem.Single(jaxem.Gaussian("spherical")), jaxem.Single(jaxem.Gaussian("diagonal"))
    low = families.GaussianParams(jnp.asarray(mean), jnp.asarray(squares.mean()))
    high = families.GaussianParams(jnp.asarray(mean), jnp.asarray(squares))
    found = goodness.lo_mendell_rubin(null, low, alternative, high, x)
    assert found.degrees_of_freedom == 2
    assert found.statistic == pytest.approx(4000 * (3 * np.log(squares.mean()) - np.log(squares).sum()))
    assert found.adjusted_statistic == pytest.approx(found.statistic / (1 + 1 / (2 * np.log(4000))))
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 2), abs=0.02)
    assert np.sort(np.abs(found.weights))[-2:] == pytest.approx([1, 1], abs=0.1)
    assert np.sort(np.abs(found.weights))[:-2] == pytest.approx(0, abs=0.1)


@pytest.mark.slow
def test_the_weights_are_eigenvalues_of_the_matrix_of_vuong():
    deaths, days = np.arange(10.0)[:, None], np.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    one, two = jaxem.Single(jaxem.Poisson()), jaxem.Mixture(jaxem.Poisson(), 2)
    n = days.sum()
    low = families.PoissonParams(jnp.asarray(days @ deaths / n))
    fit = jaxem.fit(two, deaths, weights=days, key=KEY, restarts=4, tol=1e-13, max_steps=10_000)
    found = goodness.lo_mendell_rubin(one, low, two, fit.params, deaths, days)
    # Everything once more, in the coordinates of weights and rates.
    rates = np.asarray(fit.params.components.rate[:, 0])
    at = np.array([float(fit.params.weights[0]), *rates])

    def log_two(theta):
        p = jax.scipy.stats.poisson.pmf
        return jnp.log(theta[0] * p(deaths[:, 0], theta[1]) + (1 - theta[0]) * p(deaths[:, 0], theta[2]))

    def log_one(theta):
        return jax.scipy.stats.poisson.logpmf(deaths[:, 0], theta[0])

    parts = []
    for fn, theta in ((log_two, jnp.asarray(at)), (log_one, low.rate)):
        scores = np.asarray(jax.jacfwd(fn)(theta))
        second = np.einsum("n,nij->ij", days, np.asarray(jax.hessian(fn)(theta))) / n
        parts.append((scores, second))
    (f, a), (g, b) = parts
    cross = [np.einsum("n,ni,nj->ij", days, p, q) / n for p, q in ((f, f), (f, g), (g, f), (g, g))]
    matrix = np.block(
        [
            [-cross[0] @ np.linalg.inv(a), -cross[1] @ np.linalg.inv(b)],
            [cross[2] @ np.linalg.inv(a), cross[3] @ np.linalg.inv(b)],
        ]
    )
    np.testing.assert_allclose(np.sort(found.weights), np.sort(np.linalg.eigvals(matrix).real), rtol=1e-4, atol=1e-6)
    wanted = 2 * float(two.log_likelihood(fit.params, deaths, days) - one.log_likelihood(low, deaths, days))
    assert found.statistic == pytest.approx(wanted)
    assert found.p_value == pytest.approx(upper_tail(found.statistic, found.weights))
    assert found.adjusted_p_value > found.p_value


@pytest.mark.slow
def test_what_the_theorem_does_not_apply_to():
    x = np.random.default_rng(0).poisson(3, (50, 1)).astype(float)
    one, two = jaxem.Single(jaxem.Poisson()), jaxem.Mixture(jaxem.Poisson(), 2)
    low = families.PoissonParams(jnp.asarray(x.mean(0)))
    same = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), families.PoissonParams(jnp.full((2, 1), x.mean())))
    with pytest.raises((jaxem.DataError, jaxem.FitError)):
        goodness.lo_mendell_rubin(one, low, two, same, x)
    with pytest.raises(jaxem.DataError, match="0 parameters more than null"):
        goodness.lo_mendell_rubin(one, low, one, low, x)
