import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import rows
from jaxem.kernels.rows import Present, cumulative_sum, largest_rows, of_positive_weight


@pytest.mark.parametrize("n", [1, 2, 9, 10, 99])
def test_cumulative_sum(n):
    mass = np.random.default_rng(n).random(n)
    np.testing.assert_allclose(cumulative_sum(jnp.asarray(mass)), np.cumsum(mass), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 1000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("widest", [3, 2048])
def test_rows_of_positive_weight(n, share, widest, monkeypatch):
    monkeypatch.setattr(rows, "_WIDEST", widest)
    weights = np.where(np.random.default_rng(n).random(n) < share, 1e-30, 0.0)
    order, count = jax.jit(lambda w: of_positive_weight(w))(jnp.asarray(weights))
    expected = np.flatnonzero(weights)
    assert int(count) == len(expected)
    np.testing.assert_array_equal(order[: len(expected)], expected)
    assert not np.any(order[len(expected) :])


@pytest.mark.parametrize("shards", [1, 4])
def test_rows_of_each_kind_in_order(shards, monkeypatch):
    monkeypatch.setattr(rows, "num_shards", lambda data, weights: shards)
    kind = np.random.default_rng(0).choice([0, 2, 3], 40)  # of three kinds one has none, and rows of kind 3 are none
    present = Present.of_kinds(jnp.asarray(kind, jnp.int32), 3)
    np.testing.assert_array_equal(present.totals, [np.sum(kind == j) for j in range(3)])
    for j in (0, 2):
        expected = np.flatnonzero(kind == j)
        places = jnp.arange(len(expected), dtype=jnp.int32)
        np.testing.assert_array_equal(present.at(places, j), expected)
        np.testing.assert_array_equal(present.at(places, jnp.full(len(expected), j, jnp.int32)), expected)


@pytest.mark.parametrize(("n", "count"), [(40, 1), (40, 7), (40, 40), (4, 3), (48, 5)])
@pytest.mark.parametrize("tied", [False, True])
def test_the_largest_rows_of_several_parts_are_those_of_all(n, count, tied, monkeypatch):
    rng = np.random.default_rng(n + count)
    score = jnp.asarray(rng.choice([0.0, 1.0, 2.0], n) if tied else rng.normal(size=n))
    expected = jax.lax.top_k(score, count)
    monkeypatch.setattr(rows, "num_shards", lambda data, weights: 4)
    for found, wanted in zip(largest_rows(score, count), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
