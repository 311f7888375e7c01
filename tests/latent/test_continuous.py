"""Latents known by their density alone: draws by Markov chains, and an estimated log-normalizer."""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm, poisson
from scipy import stats

import jaxem
from jaxem.latent import Continuous
from jaxem.latent.continuous import ContinuousPotentials

KEY = jax.random.key(4)
LEVELS = {"mean": jnp.array(0.4), "between": jnp.array(0.8), "within": jnp.array(0.6)}


def levels(params, row, z):
    """Observations of one group, about its own level."""
    return norm.logpdf(z, 0.0, params["between"]) + jnp.sum(norm.logpdf(row, params["mean"] + z, params["within"]))


def counts(params, row, z):
    """Poisson counts with a log-normal rate: no closed form."""
    return norm.logpdf(z, 0.0, params["spread"]) + poisson.logpmf(row, jnp.exp(params["log_rate"] + z))


def plane(params, row, z):
    """Two latents that a row ties together."""
    centre = jnp.stack([row[0] + z[0] * params["slope"], row[1] - z[1]])
    return jnp.sum(norm.logpdf(z)) + jnp.sum(norm.logpdf(centre, 0.0, params["scale"]))


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(2)
    return jnp.asarray(0.5 + 0.9 * rng.standard_normal((12, 1)) + 0.7 * rng.standard_normal((12, 4)))


@pytest.fixture(scope="module")
def drawn(groups):
    latent = Continuous(log_joint=levels)
    return latent, jax.jit(lambda x: latent.average(KEY, ContinuousPotentials(LEVELS, x), 500, 500))(groups)


def test_log_normalizer_of_a_normal_posterior(groups):
    value = jax.jit(Continuous(log_joint=levels).log_normalizer)(ContinuousPotentials(LEVELS, groups))
    between, within = np.asarray(LEVELS["between"]), np.asarray(LEVELS["within"])
    covariance = between**2 * np.ones((4, 4)) + within**2 * np.eye(4)
    exact = stats.multivariate_normal(np.full(4, float(LEVELS["mean"])), covariance).logpdf(np.asarray(groups))
    np.testing.assert_allclose(value, exact, atol=5e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_normalizer_against_quadrature(dtype):
    x = jnp.asarray([0.0, 1.0, 3.0, 40.0], dtype)
    params = {"spread": jnp.asarray(0.7, dtype), "log_rate": jnp.asarray(1.1, dtype)}
    value = jax.jit(Continuous(log_joint=counts).log_normalizer)(ContinuousPotentials(params, x))
    assert value.dtype == dtype
    z = np.linspace(-8, 8, 20_001)
    density = stats.norm.pdf(z, 0, 0.7)[None] * stats.poisson.pmf(np.asarray(x, int)[:, None], np.exp(1.1 + z)[None])
    np.testing.assert_allclose(value, np.log(np.trapezoid(density, z, axis=1)), atol=5e-3)


def test_draws_are_of_the_posterior(groups, drawn):
    _, moments = drawn
    assert moments.draws.shape == (12, 500)
    precision = 1 / LEVELS["between"] ** 2 + 4 / LEVELS["within"] ** 2
    mean = (groups - LEVELS["mean"]).sum(1) / LEVELS["within"] ** 2 / precision
    error = (moments.draws.mean(1) - mean) * jnp.sqrt(500 * precision)
    assert jnp.abs(error).max() < 4
    np.testing.assert_allclose(moments.draws.std(1) * jnp.sqrt(precision), 1, atol=0.15)
    centred = moments.draws - moments.draws.mean(1, keepdims=True)
    correlation = (centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean()
    assert abs(correlation) < 0.06  # draws are independent of each other


def test_the_transpose_is_the_gradient_of_what_the_draws_add_to_q(groups, drawn):
    latent, moments = drawn
    weights = jnp.arange(12.0)

    def q(params):
        return jnp.sum(weights * latent.pair(ContinuousPotentials(params, groups), moments))

    found = jax.jit(lambda moments: latent.weigh(moments, weights).natural)(moments)
    expected = jax.jit(jax.grad(q))(LEVELS)
    for name in LEVELS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
    # Fisher's identity: on average it is the gradient of the log-likelihood.

    def log_likelihood(params):
        return jnp.sum(weights * latent.log_normalizer(ContinuousPotentials(params, groups)))

    gradient = jax.jit(jax.grad(log_likelihood))(LEVELS)
    for name in LEVELS:
        np.testing.assert_allclose(found[name], gradient[name], rtol=0.1, atol=0.1 * weights.sum())


def test_a_vector_of_latents(groups):
    latent = Continuous((2,), log_joint=plane)
    params = {"slope": jnp.array(0.5), "scale": jnp.array(0.9)}
    x = groups[:3, :2]
    moments = jax.jit(lambda x: latent.average(KEY, ContinuousPotentials(params, x), 400, 400))(x)
    assert moments.draws.shape == (3, 400, 2)
    precision = np.array([1 + 0.25 / 0.81, 1 + 1 / 0.81])
    mean = np.stack([-0.5 * x[:, 0] / 0.81, x[:, 1] / 0.81], 1) / precision
    np.testing.assert_allclose(moments.draws.mean(1), mean, atol=4 / np.sqrt(400 * precision.min()))


def test_only_the_draws_that_were_asked_for_count(groups, drawn):
    latent, _ = drawn
    potentials = ContinuousPotentials(LEVELS, groups)
    few = jax.jit(lambda m: latent.average(KEY, potentials, m, 8))(jnp.asarray(3, jnp.int32))
    exact = jax.jit(lambda: latent.average(KEY, potentials, 3, 3))()
    np.testing.assert_allclose(few.draws[:, :3], exact.draws, rtol=1e-9)
    np.testing.assert_allclose(latent.pair(potentials, few), latent.pair(potentials, exact), rtol=1e-9)


def test_another_kernel(groups):
    """Anything with `init` and `step`: here independent draws, exact since the posterior is normal."""

    class State(NamedTuple):
        position: jax.Array

    class Exact(NamedTuple):
        init = staticmethod(State)

        def step(self, key, state):
            return State(jax.random.normal(key, state.position.shape, state.position.dtype)), None

    latent = Continuous(transitions=1, kernel=lambda log_density: Exact(), log_joint=levels)
    draws = jax.jit(lambda x: latent.average(KEY, ContinuousPotentials(LEVELS, x), 400, 400))(groups).draws
    precision = 1 / LEVELS["between"] ** 2 + 4 / LEVELS["within"] ** 2
    np.testing.assert_allclose(draws.std(1) * jnp.sqrt(precision), 1, atol=0.15)


def test_what_is_missing_is_named(groups, monkeypatch):
    latent = Continuous(log_joint=levels)
    potentials = ContinuousPotentials(LEVELS, groups)
    with pytest.raises(jaxem.MissingCapabilityError, match="no posterior moments in closed form"):
        latent.expectation(potentials)
    with pytest.raises(ValueError, match="nodes must be at least 1"):
        Continuous(nodes=0)
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(jaxem.MissingCapabilityError, match=r"pip install 'jaxem\[blackjax\]'"):
        latent.sample(KEY, potentials)
