"""The chi-square test of factors, against what R prints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import families, goodness
from tests.helpers.published import ABILITY

KEY = jax.random.key(0)


def rows_of(covariance, n=112):
    """Rows whose covariance, of divisor `n`, is this one."""
    x = np.random.default_rng(0).normal(size=(n, len(covariance)))
    x = x - x.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(x.T @ x / n), x.T).T
    return white @ np.linalg.cholesky(covariance).T


# As `factanal(covmat = ability.cov)` prints them, confirmed by direct maximisation of the likelihood.
@pytest.mark.parametrize(
    ("q", "chi2", "p", "freedom"),
    [pytest.param(1, 75.1796, 1.456e-12, 9, marks=pytest.mark.slow), (2, 6.1066, 0.1913, 4)],
)
def test_factors_of_ability_as_factanal_prints_them(q, chi2, p, freedom):
    x = rows_of(ABILITY)
    model = jaxem.FactorAnalysis(q)
    fit = jaxem.fit(model, x, key=KEY, tol=1e-13, max_steps=20_000)
    found = goodness.factor_fit(model, fit.params, x)
    assert found.bartlett == pytest.approx(chi2, abs=1e-3)
    assert found.bartlett_p_value == pytest.approx(p, rel=2e-3)
    assert found.degrees_of_freedom == freedom
    # The plain statistic is twice the log-likelihood ratio to a covariance that is free.
    free = stats.multivariate_normal(x.mean(0), ABILITY).logpdf(x).sum()
    assert found.chi2 == pytest.approx(2 * (free - float(fit.log_likelihood)), rel=1e-7)
    assert found.rmsea == pytest.approx(np.sqrt(max(found.chi2 / freedom - 1, 0) / 112))
    low, high = found.rmsea_interval
    assert low <= found.rmsea <= high
    assert stats.ncx2.cdf(found.chi2, freedom, high**2 * freedom * 112) == pytest.approx(0.05)


@pytest.mark.slow
def test_weights_of_rows_are_frequencies():
    x = rows_of(ABILITY, 24)
    params = families.FactorParams(jnp.zeros(6), jnp.ones((6, 1)), jnp.diagonal(jnp.asarray(ABILITY)))
    count = np.random.default_rng(0).integers(0, 3, 24).astype(float)
    model = jaxem.FactorAnalysis(1)
    found = goodness.factor_fit(model, params, x, count)
    wanted = goodness.factor_fit(model, params, np.repeat(x, count.astype(int), 0))
    assert found.chi2 == pytest.approx(wanted.chi2)
    assert found.bartlett == pytest.approx(wanted.bartlett)


def test_isotropic_noise_and_factors_without_a_test():
    x = rows_of(ABILITY)
    found = goodness.factor_fit(
        jaxem.PPCA(2), families.FactorParams(jnp.zeros(6), jnp.ones((6, 2)), jnp.array(20.0)), x
    )
    assert found.degrees_of_freedom == 21 - 12 - 1 + 1
    assert np.isnan(found.bartlett)
    assert np.isfinite(found.chi2_p_value)
    some = families.FactorParams(jnp.zeros(3), jnp.ones((3, 2)), jnp.ones(3))
    found = goodness.factor_fit(jaxem.FactorAnalysis(2), some, x[:, :3])
    assert found.degrees_of_freedom == 0
    assert np.isnan([found.chi2_p_value, found.rmsea]).all()


def test_what_has_no_test_of_factors():
    x, params = rows_of(ABILITY), families.FactorParams(jnp.zeros(6), jnp.ones((6, 1)), jnp.ones(6))
    model = jaxem.FactorAnalysis(1)
    with pytest.raises(jaxem.DataError, match="row 2 has a missing entry"):
        goodness.factor_fit(model, params, np.where(np.arange(112)[:, None] == 2, np.nan, x))
    with pytest.raises(jaxem.DataError, match="has rank 2"):
        goodness.factor_fit(model, params, x[:3])
    with pytest.raises(jaxem.MissingCapabilityError, match="Mixture is no factor analysis"):
        goodness.factor_fit(jaxem.GaussianMixture(2), None, x)
