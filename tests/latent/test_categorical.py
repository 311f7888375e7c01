import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxem.latent import Categorical

LATENT = Categorical()


@pytest.fixture
def potentials():
    """Potentials `[k, n]` of any size; class 2 is impossible for row 1."""
    size = np.repeat([0.0, 1e4, -1e4], 2)
    values = size + np.random.default_rng(0).normal(scale=3.0, size=(4, 6))
    values[2, 1] = -np.inf
    return values


def test_expectation_is_enumeration(potentials):
    moments, value = LATENT.expectation(jnp.asarray(potentials))
    np.testing.assert_allclose(value, special.logsumexp(potentials, 0), rtol=1e-12)
    np.testing.assert_allclose(moments, special.softmax(potentials, 0), rtol=1e-9, atol=1e-300)


def test_moments_are_the_gradient_of_the_log_normalizer(potentials):
    moments, _ = LATENT.expectation(jnp.asarray(potentials))
    gradient = jax.grad(lambda p: LATENT.expectation(p)[1].sum())(jnp.asarray(potentials))
    np.testing.assert_allclose(gradient, moments, rtol=1e-9, atol=1e-15)


def test_mode_is_enumeration(potentials):
    indicator, value = LATENT.mode(jnp.asarray(potentials))
    np.testing.assert_array_equal(value, potentials.max(0))
    np.testing.assert_array_equal(indicator, potentials.argmax(0)[None] == np.arange(4)[:, None])


def test_a_tie_goes_to_one_class():
    indicator, _ = LATENT.mode(jnp.zeros((3, 2)))
    np.testing.assert_array_equal(indicator.sum(0), [1.0, 1.0])


def test_a_row_that_no_class_allows():
    potentials = jnp.asarray([[-jnp.inf, 0.0], [-jnp.inf, 0.0]])
    for moments, value in (LATENT.expectation(potentials), LATENT.mode(potentials)):
        np.testing.assert_array_equal(moments[:, 0], [0.0, 0.0])
        assert float(value[0]) == -np.inf
    drawn = LATENT.sample(jax.random.key(0), potentials)
    np.testing.assert_array_equal(drawn.sum(0), [0.0, 1.0])
    # Derivatives of what is known about the other rows survive it.
    gradient = jax.grad(lambda p: LATENT.expectation(p)[1][1])(potentials)
    np.testing.assert_array_equal(gradient, [[0.0, 0.5], [0.0, 0.5]])
    assert np.isfinite(jax.jacobian(lambda p: LATENT.expectation(p)[0])(potentials)).all()


def test_draws_have_the_posterior_probabilities(potentials):
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = jax.jit(jax.vmap(LATENT.sample, (0, None)))(keys, jnp.asarray(potentials))
    np.testing.assert_array_equal(drawn.sum(1), 1.0)
    counts, expected = np.asarray(drawn.sum(0)), 4000 * special.softmax(potentials, 0)
    assert counts[2, 1] == 0
    z = (counts - expected) / np.sqrt(expected * (1 - expected / 4000) + 1e-9)
    # The largest of 24 deviations is this large once in ten million.
    assert np.abs(z[expected > 20]).max() < stats.norm.isf(1e-8 / 4)
    assert counts[expected <= 20].max() <= 60


def test_pairing_and_entropy_complete_the_log_normalizer(potentials):
    """Gibbs: log-normalizer = <potentials, moments> + entropy, and less at any other distribution."""
    moments, value = LATENT.expectation(jnp.asarray(potentials))
    bound = LATENT.pair(jnp.asarray(potentials), moments) + LATENT.entropy(moments)
    np.testing.assert_allclose(bound, value, rtol=1e-9, atol=1e-9)
    even = jnp.where(jnp.isfinite(potentials), 1.0, 0.0)
    even = even / even.sum(0, keepdims=True)
    assert np.all(LATENT.pair(jnp.asarray(potentials), even) + LATENT.entropy(even) < value)


def test_weights_multiply_moments():
    moments = jnp.asarray([[0.25, 1.0], [0.75, 0.0]])
    np.testing.assert_array_equal(LATENT.weigh(moments, jnp.asarray([4.0, 2.0])), [[1.0, 2.0], [3.0, 0.0]])
