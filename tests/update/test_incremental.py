"""The incremental update against a transcription, and the free energy against its definition."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from jaxem.kernels.sums import unreduced
from jaxem.update import Incremental
from tests.helpers import engine

N = 23


def expect(x, w, key):
    return {"sum": jnp.sum(w * x)}, jnp.sum(w * x**2)


def test_blocks_replace_what_they_gave_the_last_time():
    x, rule = jnp.arange(1.0, N + 1), Incremental(blocks=4)
    stats = {"sum": jnp.zeros(())}
    state = rule.init(stats, x, jnp.ones(N), jax.random.key(0))
    natural = {"sum": jnp.asarray(0.5)}
    blocks = [np.arange(0, 6), np.arange(6, 12), np.arange(12, 18), np.arange(18, 23)]
    cache = np.zeros(4)
    for turn in range(10):
        factor = 1.0 + turn  # the statistics change from visit to visit
        scaled = lambda x, w, key, f=factor: jax.tree.map(lambda s: f * s, expect(x, w, key))  # noqa: E731
        assert bool(rule.ready(state)) == (turn >= 4)
        found, _value, state = rule(
            scaled, lambda s: s, natural, stats, turn == 0, x, jnp.ones(N), state, jax.random.key(0), unreduced
        )
        cache[turn % 4] = factor * np.sum(blocks[turn % 4] + 1)
        np.testing.assert_allclose(found["sum"], cache.sum(), rtol=1e-12)
        assert bool(rule.comparable(state)) == ((turn + 1) % 4 == 0)


def test_free_energy_is_a_rising_bound_that_meets_the_likelihood():
    model, start, x, w, _ = engine.case("full")
    fit = engine.solve(model, start, x, w, algorithm=jaxem.incremental_em(blocks=5), tol=1e-12, max_steps=3000)
    assert jaxem.status_name(fit.status) == "converged"
    energy = np.asarray(fit.history)[4 : int(fit.num_steps) + 1]
    assert (np.diff(energy) >= -1e-9 * abs(energy[0])).all()
    np.testing.assert_allclose(energy[-1], fit.log_likelihood, rtol=1e-10)
    plain = engine.solve(model, start, x, w, tol=1e-13)
    np.testing.assert_allclose(fit.log_likelihood, plain.log_likelihood, rtol=1e-9)


def test_weights_and_a_single_block():
    """With one block it is EM, after an iteration that fills the cache."""
    model, start, x, _, _ = engine.case("poisson")
    w = jnp.asarray(np.arange(len(x)) % 3, float)
    em = engine.solve(model, start, x, w, max_steps=20, tol=-np.inf)
    one = engine.solve(model, start, x, w, max_steps=20, tol=-np.inf, algorithm=jaxem.incremental_em(1))
    np.testing.assert_allclose(one.params.components.rate, em.params.components.rate, rtol=1e-12)
