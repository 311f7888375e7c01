"""Gibbs sampling against the exact posterior, and by simulation-based calibration (Talts et al. 2018)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxem

SHAPE, RATE = 3.0, 0.5


def model(k):
    return jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(SHAPE, RATE)), k, weights_prior=jaxem.priors.Dirichlet(2.0))


def test_draws_of_a_single_component_are_from_the_exact_posterior():
    x = jnp.asarray(np.random.default_rng(0).poisson(4.0, (15, 1)).astype(float))
    start = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.PoissonParams(jnp.ones((1, 1))))
    algorithm = jaxem.gibbs(2000, burn_in=1)
    fit = jax.jit(
        lambda key: jaxem.solve(model(1), start, x, algorithm=algorithm, max_steps=2001, key=key, history_size=1)
    )(jax.random.key(4))
    rates = np.asarray(fit.draws.components.rate)[:, 0, 0]
    exact = scipy.stats.gamma(SHAPE + float(x.sum()), scale=1 / (RATE + len(x)))
    assert scipy.stats.kstest(rates, exact.cdf).pvalue > 1e-3
    np.testing.assert_allclose(rates.mean(), exact.mean(), atol=5 * exact.std() / np.sqrt(2000))
    np.testing.assert_allclose(fit.draws.weights, 1.0)


@pytest.mark.slow
def test_ranks_among_the_draws_are_uniform():
    """Parameters from the prior and data from them: the posterior's draws rank the parameters uniformly."""
    replicates, draws, thin, n, mixture = 200, 99, 5, 6, model(2)
    algorithm = jaxem.gibbs(draws, burn_in=50, thin=thin)

    def summary(params):  # unchanged when components swap labels
        mean = jnp.sum(params.weights[..., None] * params.components.rate[..., 0, None], (-2, -1))
        return jnp.stack([mean, jnp.max(params.components.rate, (-2, -1)), jnp.max(params.weights, -1)], -1)

    @jax.jit
    @jax.vmap
    def ranks(key):
        keys = jax.random.split(key, 5)
        weights = jax.random.dirichlet(keys[0], jnp.full(2, 2.0))
        truth = jaxem.models.MixtureParams(
            weights, jaxem.families.PoissonParams(jax.random.gamma(keys[1], SHAPE, (2, 1)) / RATE)
        )
        labels = jax.random.categorical(keys[2], jnp.log(weights), shape=(n,))
        x = jax.random.poisson(keys[3], truth.components.rate[labels]).astype(float)
        fit = jaxem.solve(
            mixture, truth, x, algorithm=algorithm, max_steps=50 + draws * thin, key=keys[4], history_size=1
        )
        return jnp.sum(summary(fit.draws) < summary(truth)[None], 0)

    found = np.asarray(ranks(jax.random.split(jax.random.key(7), replicates)))
    for column in found.T:
        counts = np.histogram(column, bins=10, range=(0, draws + 1))[0]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3
