import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxem.kernels.chunks import chunk_rows, chunk_rows_apart, per_device, sum_chunks


def weighted(chunk, w, index):
    return {"x": w @ chunk["x"], "rows": jnp.sum(w)}, jnp.sum(w * chunk["y"])


@given(n=st.integers(1, 23), rows=st.one_of(st.none(), st.integers(1, 30)), seed=st.integers(0, 99))
def test_every_row_counts_once(n, rows, seed):
    rng = np.random.default_rng(seed)
    data = {"x": jnp.asarray(rng.standard_normal((n, 2))), "y": jnp.asarray(rng.standard_normal(n))}
    w = jnp.asarray(rng.random(n))
    stats, value = sum_chunks(weighted, data, w, rows)
    np.testing.assert_allclose(stats["x"], np.asarray(w) @ np.asarray(data["x"]), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(stats["rows"], np.sum(w), rtol=1e-12)
    np.testing.assert_allclose(value, np.sum(w * data["y"]), rtol=1e-12, atol=1e-13)


@given(
    n=st.integers(1, 10**8),
    floats=st.integers(0, 10**7),
    expanded=st.integers(0, 10**6),
    platform=st.sampled_from([("cpu", 256, 4096, 2**21, 2**16), ("gpu", 4096, 2**22, 2**27, 2**27)]),
)
def test_chunks_are_bounded_and_nearly_equal(n, floats, expanded, platform):
    name, least, most, size, cached = platform
    rows = chunk_rows(n, floats, expanded, name)
    assert 1 <= rows <= most
    chunks = -(-n // rows)
    # The overlap of the last chunk is less than a row for each chunk.
    assert 0 <= chunks * rows - n < chunks or rows == chunk_rows(1, floats, expanded, name)
    assert rows >= min(n, least // 2)
    assert rows * floats <= max(size, least * floats)
    assert rows * expanded <= max(cached, least * expanded)


def test_an_accelerator_takes_two_million_rows_in_few_launches():
    """Sixteen columns, sixteen members: 153 expanded numbers of a row, and 64 others."""
    assert 2_000_000 / chunk_rows(2_000_000, 217, 153, "gpu") < 5
    assert chunk_rows(2_000_000, 217, 153, "tpu") == chunk_rows(2_000_000, 217, 153, "gpu")
    assert 2_000_000 / chunk_rows(2_000_000, 217, 153, "cpu") > 1000
    # A run that has all cores to itself takes larger products.
    assert 4 < chunk_rows(2_000_000, 217, 153, "cpu", alone=True) / chunk_rows(2_000_000, 217, 153, "cpu") < 9


def test_the_scalar_is_summed_with_compensation():
    """Terms below the resolution of the sum: added one by one in single precision they would all be lost."""
    terms = jnp.full(2**14, 0.01, jnp.float32).at[0].set(1e6)

    def one(term, w, index):
        return (), jnp.sum(term * w)

    _, value = jax.jit(lambda x, w: sum_chunks(one, x, w, 1))(terms, jnp.ones_like(terms))
    np.testing.assert_allclose(value, 1e6 + 0.01 * (2**14 - 1), atol=0.1)


@pytest.mark.parametrize("bad", [-np.inf, np.inf, np.nan])
def test_a_value_that_is_not_finite_stays_so(bad):
    y = jnp.asarray([1.0, bad, 2.0, 3.0])
    _, value = sum_chunks(lambda y, w, index: ((), jnp.sum(y)), y, jnp.ones(4), 1)
    np.testing.assert_equal(float(value), bad)


def test_chunks_have_numbers():
    def one(chunk, w, index):
        return jnp.sum(w) * index, jnp.sum(chunk * w)

    stats, _ = sum_chunks(lambda c, w, i: one(c, w, i.astype(c.dtype)), jnp.ones(10), jnp.ones(10), 4)
    assert float(stats) == 0 * 4 + 1 * 4 + 2 * 2


def test_local_changes_no_value():
    tree = {"a": jnp.asarray([1.0, -0.0, jnp.inf]), "b": jnp.ones((), jnp.float32)}
    rows = (jnp.full((3, 2), jnp.nan), jnp.arange(3))
    same = per_device(tree, rows)
    np.testing.assert_array_equal(same["a"], tree["a"])
    assert same["b"].dtype == jnp.float32


def test_runs_on_data_of_their_own_take_all_rows_at_once_where_these_are_few():
    assert chunk_rows_apart(2048, 32, 49, 40) == 2048
    for n in (20_000, 1_000_000):
        assert chunk_rows_apart(n, 32, 49, 40) == chunk_rows(n, 32 * 49, 32 * 40) < n
