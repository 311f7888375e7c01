import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from jaxem.families import Bernoulli, BernoulliParams
from jaxem.kernels import exclusion
from jaxem.priors import Beta
from tests.families import cases


def test_probabilities_of_zero_and_one(dtype):
    """What is certain has log density 0, what is impossible is excluded; nothing is NaN."""
    params = BernoulliParams(jnp.asarray([[0.0, 1.0], [0.5, 0.25]], dtype))
    x = jnp.asarray([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype)

    @jax.jit
    def run(params, x):
        found = cases.kernels(Bernoulli(), params, x, jnp.ones(3, dtype)).values()
        density = [f.potentials(f.natural(p), x) for f, p in found]
        return density, jax.grad(lambda p: jnp.sum(jnp.stack(Bernoulli().natural(p))))(params)

    densities, gradient = run(params, x)
    for density in densities:
        assert density[0, 0] == 0
        assert not exclusion.possible(density[0, 1:]).any()
        assert np.isfinite(density).all()
        assert_allclose(density[1], np.log([0.125, 0.125, 0.375]), rtol=1e-5)
    assert np.isfinite(gradient.probability).all()


@pytest.mark.parametrize("common", [0, 1])
def test_many_columns_in_single_precision(common):
    """A thousand columns that nearly always hold the same value: no digits are lost, whichever value it is."""
    rng = np.random.default_rng(10)
    rare = np.float32(10 ** rng.uniform(-5, -2, (2, 1000)))
    rare[:, :300] = 0
    probability = 1 - rare if common else rare
    x = (rng.random((50, 1000)) < probability[np.arange(50) % 2]).astype(np.float32)
    expected = [stats.bernoulli.logpmf(x, p.astype(float)).sum(1) for p in probability]

    @jax.jit
    def run(probability, x):
        family = Bernoulli().bind(x, jnp.ones(50, x.dtype), lambda tree: tree)
        return family.potentials(family.natural(BernoulliParams(probability)), x)

    with jax.enable_x64(False):
        found = run(jnp.asarray(probability), jnp.asarray(x))
    assert_allclose(found, expected, atol=2e-4)


def test_rows_outside_the_support_have_no_density(dtype):
    x = jnp.asarray([[1.0, 0.0], [0.5, 0.0], [0.0, 2.0]], dtype)
    assert np.isfinite(Bernoulli().log_base(x)).tolist() == [True, False, False]


def test_beta_mode(dtype):
    """(a - 1 + ones) / (a + b - 2 + rows); a flat prior says nothing about a member without rows."""
    x = jnp.asarray([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype)
    params = BernoulliParams(jnp.full((2, 2), 0.3, dtype))
    r = jnp.asarray([[1.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype)

    def mode(prior):
        family = Bernoulli(prior).bind(x, jnp.ones(3, dtype), lambda tree: tree)
        return family.maximize(cases.collect(family, params, x, r), params).probability

    found, flat = jax.jit(lambda: (mode(Beta(2.0, 1.5)), mode(Beta(1.0, 1.0))))()
    assert_allclose(found, [[3.5 / 4, 2.5 / 4], [1 / 1.5, 1 / 1.5]], rtol=1e-5)
    assert_allclose(flat, [[1.0, 1.5 / 2.5], [0.3, 0.3]], rtol=1e-5)


def test_rows_and_options_that_are_refused():
    Bernoulli().check(np.array([[0, 1], [1, 1]]))
    with pytest.raises(ValueError, match=r"row 1, column 0 has value 2.0, which is neither 0 nor 1"):
        Bernoulli().check(np.array([[0.0, 1.0], [2.0, 0.0]]))
    with pytest.raises(ValueError, match="b must be positive"):
        Beta(1.0, 0.0)
    with pytest.raises(ValueError, match="b must be at least 1 for a posterior-mode estimate"):
        Beta(1.0, 0.9).pseudo_counts((1, 1), float)
