"""Rows that lack the same entries lie side by side: the table that makes, and that nothing else comes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._bound import collect
from jaxem.engine import layout
from jaxem.engine.layout import by_gaps
from jaxem.kernels.chunks import chunk_rows

N, D, K = 600, 3, 2


def table(n=N, dtype="float64"):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(n, D)) @ rng.normal(size=(D, D)) + 3 * (rng.random((n, 1)) < 0.4)
    x[rng.random(x.shape) < 0.25] = np.nan
    x[-1] = np.nan
    return x.astype(dtype)


def model(**kwargs):
    return jaxem.GaussianMixture(K, missing=True, **kwargs)


def laid_out(x, weights=None):
    found = by_gaps(model().bound(), x, weights, "float64")
    assert found is not None
    return found


def test_the_rows_of_a_block_lack_the_same_and_all_rows_are_there_once():
    x, weights = table(), np.arange(1.0, N + 1)
    data, w, blocks = laid_out(x, weights)
    assert len(data) == len(w)
    assert len(w) % blocks.rows == 0
    assert blocks.apart == 0
    gaps = np.isnan(data).reshape(-1, blocks.rows, D)
    assert (gaps == gaps[:, :1]).all()
    np.testing.assert_array_equal(np.sort(w[w > 0]), weights)
    np.testing.assert_array_equal(data[np.argsort(w)][-N:], x)


def test_rows_with_nothing_missing_stay_in_their_order():
    x = np.nan_to_num(table())
    data, w, _ = laid_out(x)
    np.testing.assert_array_equal(data[w > 0], x)


def test_another_table_with_other_patterns_has_the_same_shapes():
    found = [laid_out(table()[rows]) for rows in (slice(None), slice(None, None, -1), slice(3, N))]
    assert len({(len(w), blocks) for _, w, blocks in found}) == 1


def test_where_every_row_is_unlike_the_others_they_stay_as_they_are():
    x = table(6)
    assert by_gaps(model().bound(), x, None, "float64") is None
    assert by_gaps(jaxem.GaussianMixture(K).bound(), np.nan_to_num(x), None, "float64") is None
    diagonal = jaxem.GaussianMixture(K, "diagonal", missing=True)
    assert by_gaps(diagonal.bound(), table(), None, "float64") is None


def test_data_that_are_traced_or_sequences_stay_as_they_are():
    assert jax.eval_shape(lambda x: by_gaps(model().bound(), x, None, "float64"), jnp.asarray(table())) is None
    chain = jaxem.HMM(jaxem.Incomplete(jaxem.Gaussian()), K)
    assert by_gaps(chain.bound(), table().reshape(-1, 4, D), None, "float64") is None


@pytest.mark.slow
def test_rows_apart_share_what_the_first_columns_lack(monkeypatch):
    monkeypatch.setattr(layout, "_cost", lambda d, blocks, n: (blocks.apart != d // 2) + n * 1e-9 + (blocks.rows == n))
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200, 8))
    x[rng.random(x.shape) < 0.3] = np.nan
    data, _, blocks = laid_out(x)
    gaps = np.isnan(data).reshape(-1, blocks.rows, 8)[:, :, :4]
    assert blocks.apart == 4
    assert (gaps == gaps[:, :1]).all()
    _agree(model(), x, laid_out(x))


PRODUCT = jaxem.Mixture(
    jaxem.Product(
        {"a": jaxem.Incomplete(jaxem.Gaussian()), "b": jaxem.Incomplete(jaxem.Gaussian("diagonal"))},
        columns={"a": [0, 2], "b": [1]},
    ),
    K,
)


@pytest.mark.parametrize("given", [model(), model(covariance="tied"), PRODUCT], ids=["full", "tied", "product"])
def test_statistics_are_those_of_rows_by_themselves(given):
    x = table()
    found = by_gaps(given.bound(), x, None, "float64")
    assert found is not None
    _agree(given, x, found)


def _agree(given, x, laid):
    x, w = jnp.asarray(x), jnp.ones(len(x))
    bound = given.bind(x, w)
    params = jax.jit(lambda: bound.init(jax.random.key(0), x, w))()

    @jax.jit
    def statistics(bound, x, w):
        prepared, pull = jax.vjp(bound.prepare, bound.natural(params))
        stats, value = collect(bound, prepared, x, w, bound.latent.expectation)
        return pull(stats)[0], jnp.sum(w * (value + bound.log_base(x)))

    assert bound.integrated().latent == jaxem.latent.Categorical()
    each = [
        statistics(bound, x, w),
        statistics(bound.integrated(), x, w),
        statistics(bound.laid_out(laid.blocks).integrated(), jnp.asarray(laid.data), jnp.asarray(laid.weights)),
    ]
    for other in each[1:]:
        for a, b in zip(*map(jax.tree.leaves, (other, each[0])), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_fit_is_that_of_rows_by_themselves():
    x = table()
    start = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]),
        jaxem.families.GaussianParams(jnp.array([[0.0] * D, [2.0] * D]), jnp.tile(jnp.eye(D), (K, 1, 1))),
    )
    fit = jaxem.fit(model(), x, key=jax.random.key(0), init=start, max_steps=12, tol=0)
    alone = jax.jit(lambda x: jaxem.solve(model(), start, x, max_steps=12, tol=0, kernel="fast"))(jnp.asarray(x))
    np.testing.assert_allclose(fit.log_likelihood, alone.log_likelihood, rtol=1e-11)
    for a, b in zip(*map(jax.tree.leaves, (fit.params, alone.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_chunks_are_of_whole_blocks():
    for n in (64 * 900, 64 * 7, 64):
        assert chunk_rows(n, 200, block=64) % 64 == 0
    assert chunk_rows(64 * 900, 200, block=64) < 64 * 900
    assert chunk_rows(64 * 900, 200, 32, block=64) == chunk_rows(64 * 900, 200, block=64)
