"""The stepwise update against a transcription, on statistics that are plain sums: no model takes part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels.sums import unreduced
from jaxem.update import Full, Stepwise

N = 23


@pytest.fixture(scope="module")
def data():
    return jnp.arange(1.0, N + 1)


def expect(x, w, key):
    return {"sum": jnp.sum(w * x), "count": jnp.sum(w)}, jnp.sum(w * x**2)


def iterate(rule, x, w, steps):
    """Statistics and values of every step, from nothing."""

    @jax.jit
    def one(stats, fresh, state):
        return rule(expect, lambda s: s, None, stats, fresh, x, w, state, jax.random.key(0), unreduced)

    stats, state = {"sum": jnp.asarray(np.nan), "count": jnp.asarray(np.nan)}, None
    state = rule.init(stats, x, w, jax.random.key(5))
    for step in range(steps):
        stats, value, state = one(stats, jnp.asarray(step == 0), state)
        yield jax.tree.map(float, stats), float(value)


def test_full_is_the_sum(data):
    ((stats, value),) = iterate(Full(), data, jnp.ones(N), 1)
    assert stats == {"sum": N * (N + 1) / 2, "count": N}
    assert value == float(np.sum(np.asarray(data) ** 2))


def test_every_row_is_seen_in_each_pass(data):
    """With steps of size one the statistics are those of the block alone, scaled to the whole."""
    blocks = [stats["sum"] * 5 / N for stats, _ in iterate(Stepwise(rows=5, power=0.0), data, jnp.ones(N), 10)]
    starts = [0, 5, 10, 15, N - 5]
    expected = sorted(sum(range(s + 1, s + 6)) for s in starts)
    np.testing.assert_allclose(sorted(blocks[:5]), expected)
    np.testing.assert_allclose(sorted(blocks[5:]), expected)
    assert blocks[:5] != blocks[5:]


def test_statistics_are_the_decaying_average(data):
    alone = [stats["sum"] for stats, _ in iterate(Stepwise(rows=5, power=0.0), data, jnp.ones(N), 8)]
    averaged = list(iterate(Stepwise(rows=5, power=0.6, delay=3.0), data, jnp.ones(N), 8))
    s = alone[0]
    for step, (stats, _) in enumerate(averaged):
        if step:
            rho = (step + 3.0) ** -0.6
            s = (1 - rho) * s + rho * alone[step]
        np.testing.assert_allclose(stats["sum"], s, rtol=1e-12)
        np.testing.assert_allclose(stats["count"], N, rtol=1e-12)


def test_weights_scale_blocks_and_a_block_without_weight_changes_nothing(data):
    w = jnp.where(data <= 10, 0.0, 2.0)
    before = None
    seen = set()
    for stats, value in iterate(Stepwise(rows=5, power=0.0), data, w, 5):
        empty = value == 0.0
        seen.add(empty)
        if before is None and empty:
            assert stats["count"] == 0.0
        elif empty:
            assert stats == before
        else:
            np.testing.assert_allclose(stats["count"], 26.0, rtol=1e-12)
        before = stats
    assert seen == {True, False}


def test_more_rows_than_there_are(data):
    for stats, value in iterate(Stepwise(rows=1000), data, jnp.ones(N), 3):
        np.testing.assert_allclose(stats["sum"], N * (N + 1) / 2, rtol=1e-12)
        np.testing.assert_allclose(value, np.sum(np.asarray(data) ** 2), rtol=1e-12)


def test_the_gain_is_one_while_it_is_held(data):
    alone = [stats["sum"] for stats, _ in iterate(Stepwise(rows=5, power=0.0), data, jnp.ones(N), 6)]
    held = [stats["sum"] for stats, _ in iterate(Stepwise(rows=5, power=0.6, delay=1.0, hold=3), data, jnp.ones(N), 6)]
    np.testing.assert_allclose(held[:4], alone[:4], rtol=1e-12)
    np.testing.assert_allclose(held[4], (1 - 2**-0.6) * held[3] + 2**-0.6 * alone[4], rtol=1e-12)


def test_it_waits_before_the_first_m_step(data):
    rule = Stepwise(rows=5, wait=2)
    states = [rule.init(None, data, jnp.ones(N), jax.random.key(0))]
    assert [bool(rule.ready((jnp.asarray(turn), None))) for turn in (1, 2, 3)] == [False, False, True]
    assert int(states[0][0]) == 0
