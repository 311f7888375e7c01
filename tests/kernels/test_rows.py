import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import rows
from jaxem.kernels.rows import cumulative_sum, of_positive_weight


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
