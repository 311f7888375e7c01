"""P values of tables by samples: the samples' statistics one by one, and chi-square where that holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import goodness
from jaxem.resampling._draws import simulated

KEY = jax.random.key(3)
ITEMS = jaxem.Single(jaxem.Bernoulli())


def independent(n=400, d=3, seed=0):
    """Rows of independent items, and the fit of that: their means."""
    x = (np.random.default_rng(seed).random((n, d)) < 0.4).astype(float)
    return x, jaxem.families.BernoulliParams(jnp.asarray(x.mean(0)))


def test_each_statistic_is_that_of_a_refit():
    x, params = independent(60)
    found = goodness.table_test(ITEMS, params, x, key=KEY, replicates=5)
    of_samples = jax.random.split(KEY)[0]
    ((_, sample),) = simulated(ITEMS, params, jnp.asarray(x), None, of_samples, 5, "test", 64)
    for i, rows in enumerate(np.asarray(sample["data"])):
        own = goodness.table_fit(ITEMS, jaxem.families.BernoulliParams(jnp.asarray(rows.mean(0))), rows)
        np.testing.assert_allclose(
            [found.g2[i], found.x2[i], found.cressie_read[i]], [own.g2, own.x2, own.cressie_read], rtol=1e-6
        )
    assert found.num_failed == 0
    below = np.sum(found.g2 >= found.fit.g2)
    assert found.g2_p_value == (1 + below) / 6
    assert found.g2_p_value_error == pytest.approx(np.sqrt(found.g2_p_value * (1 - found.g2_p_value) / 5))


def test_weights_are_rows():
    x, params = independent(60)
    patterns, counts = np.unique(x, axis=0, return_counts=True)
    whole = goodness.table_test(ITEMS, params, np.repeat(patterns, counts, 0), key=KEY, replicates=5)
    short = goodness.table_test(ITEMS, params, patterns, counts.astype(float), key=KEY, replicates=5)
    np.testing.assert_allclose(short.g2, whole.g2, rtol=1e-9)
    with pytest.raises(jaxem.DataError, match=r"weights: row 1 has weight 0\.5"):
        goodness.table_test(ITEMS, params, x[:2], np.array([1.0, 0.5]), key=KEY)


@pytest.mark.slow
def test_it_is_chi_square_where_no_cell_is_sparse():
    x, params = independent()
    found = goodness.table_test(ITEMS, params, x, key=KEY, replicates=499)
    assert found.fit.num_sparse == 0
    for values in (found.g2, found.x2, found.cressie_read):
        assert stats.kstest(values, stats.chi2(found.fit.degrees_of_freedom).cdf).pvalue > 1e-3
    assert abs(found.g2_p_value - found.fit.g2_p_value) < 4 * found.g2_p_value_error + 0.01


def test_dependent_items_are_told():
    x, _ = independent()
    x[:, 1] = np.where(np.random.default_rng(1).random(len(x)) < 0.5, x[:, 0], x[:, 1])
    params = jaxem.families.BernoulliParams(jnp.asarray(x.mean(0)))
    found = goodness.table_test(ITEMS, params, x, key=KEY, replicates=39)
    assert found.g2_p_value == found.x2_p_value == 1 / 40


def test_wrong_arguments_are_refused():
    x, params = independent(60)
    with pytest.raises(jaxem.DataError, match="replicates"):
        goodness.table_test(ITEMS, params, x, key=KEY, replicates=0)
    mean, covariance = jnp.zeros((1, 3)), jnp.eye(3)[None]
    normal = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.GaussianParams(mean, covariance))
    with pytest.raises(jaxem.MissingCapabilityError, match="does not say how many categories"):
        goodness.table_test(jaxem.GaussianMixture(1), normal, x, key=KEY)
