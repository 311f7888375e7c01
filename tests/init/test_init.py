"""Starts: valid, distinct, reproducible, and made of rows that count."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.init import METHODS, KMeansPlusPlus, Points, RandomResponsibilities, ShortRuns
from jaxem.init._init import subsample
from jaxem.init.kmeans import kmeans_plus_plus
from tests.helpers import engine

SEEDS = 12
KEYS = jax.random.split(jax.random.key(0), SEEDS)


@lru_cache
def drawn(method, model, labelled=False):
    """A dozen starts in one program; rows 0 to 99 have no weight."""
    case = engine.case(model)
    x = case.x.at[:100].set(0.0 if model == "poisson" else 50.0)
    weights = case.weights.at[:100].set(0.0)
    labels = jnp.where(jnp.arange(len(x)) % 4 == 0, jnp.arange(len(x)) % 3, -1)
    data = jaxem.Labelled(x, labels) if labelled else x
    bound = case.model.bind(data, weights)

    @jax.jit
    @jax.vmap
    def draw(key):
        return bound.decode(METHODS[method](bound, key, data, weights))

    return case, np.asarray(x), np.asarray(labels), draw


CASES = [
    ("kmeans++", "full"),
    ("points", "tied"),
    ("random", "poisson"),
    ("short_runs", "spherical"),
    ("kmeans++", "poisson"),
]


@pytest.mark.parametrize(("method", "model"), CASES)
def test_starts_are_valid_distinct_and_reproducible(method, model):
    case, x, _, draw = drawn(method, model)
    starts = draw(KEYS)
    np.testing.assert_allclose(starts.weights.sum(1), 1.0, rtol=1e-9)
    assert np.all(np.asarray(starts.weights) > 0)
    leaves = [np.asarray(leaf).reshape(SEEDS, -1) for leaf in jax.tree.leaves(starts.components)]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert jax.tree.map(lambda a: a.shape[1:], starts) == jax.tree.map(lambda a: a.shape, case.start)
    if model == "full":
        assert np.all(np.linalg.eigvalsh(starts.components.covariance) > 0)
    else:
        assert np.all(leaves[-1][:, 0] > 0)
    engine.assert_same(starts, draw(KEYS), rtol=0, atol=0)
    distinct = {tuple(np.sort(row.round(6))) for row in leaves[0]}
    assert len(distinct) >= (2 if method == "short_runs" else SEEDS // 2)
    # A start takes part in the objective.
    value = jax.vmap(lambda p: case.model.log_likelihood(p, x[100:]))(starts)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("model", ["tied", "full"])
def test_rows_without_weight_are_never_chosen(model):
    """They lie far away, where a seed would be the first choice."""
    _, x, _, draw = drawn({"tied": "points", "full": "kmeans++"}[model], model)
    mean = np.asarray(draw(KEYS).components.mean)
    kept = x[100:]
    assert np.all(mean <= kept.max(0))
    if model == "tied":
        nearest = np.abs(mean[:, :, None] - kept).max(-1).min(-1)
        assert nearest.max() < 1e-12
        assert all(len(np.unique(m[:, 0])) == 3 for m in mean)


def test_known_labels_decide():
    """With every label known, k-means++ and random responsibilities give the closed form."""
    case, x, _labels, _ = drawn("kmeans++", "spherical")
    known = jnp.asarray(np.arange(len(x)) % 3)
    expected = np.stack([x[100:][np.arange(len(x))[100:] % 3 == j].mean(0) for j in range(3)])
    weights = case.weights.at[:100].set(0.0)
    data = jaxem.Labelled(jnp.asarray(x), known)
    bound = case.model.bind(data, weights)
    for rule in (KMeansPlusPlus(), RandomResponsibilities()):
        start = jax.jit(lambda key, rule=rule: bound.decode(rule(bound, key, data, weights)))(KEYS[0])
        np.testing.assert_allclose(start.components.mean, expected, rtol=1e-9)
        np.testing.assert_allclose(start.weights, np.bincount(np.arange(len(x))[100:] % 3) / (len(x) - 100), rtol=1e-9)


def test_some_labels_pull_their_rows():
    _case, x, labels, draw = drawn("random", "spherical", labelled=True)
    counts = np.asarray(draw(KEYS).weights) * (len(x) - 100)
    known = np.bincount(labels[100:][labels[100:] >= 0], minlength=3)
    # Each component has its labelled rows, and some share of the others.
    assert np.all(counts > known)


def test_greedy_k_means_plus_plus_finds_separate_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0], [50.0, 300.0]])
    x = jnp.asarray(centres[np.arange(60) % 5] + rng.standard_normal((60, 2)))
    pick = jax.jit(jax.vmap(lambda key: kmeans_plus_plus(key, x, jnp.ones(60), 5)))
    found, which = map(np.asarray, pick(jax.random.split(jax.random.key(1), 200)))
    distances = ((np.asarray(x)[None, None] - np.asarray(x)[found][:, :, None]) ** 2).sum(-1)
    assert np.array_equal(which, distances.argmin(1))
    assert all(len({i % 5 for i in seeds}) == 5 for seeds in found)
    # Each row of a cluster has its chance to be the first seed.
    assert len(np.unique(found[:, 0])) > 40


@pytest.mark.parametrize("labelled", [False, True])
def test_no_row_is_nearest_to_a_seed_beyond_the_count(labelled):
    rng, key = np.random.default_rng(3), jax.random.key(4)
    x, weights = jnp.asarray(rng.standard_normal((50, 40))), jnp.ones(50)
    known = jnp.zeros((6, 50), bool).at[1, :9].set(True) if labelled else None
    few = kmeans_plus_plus(key, x, weights, 3, None if known is None else known[:3])
    more = kmeans_plus_plus(key, x, weights, 6, known, jnp.asarray(3))
    assert np.array_equal(more[0][:3], few[0])
    assert np.array_equal(more[1], few[1])
    centres = np.asarray(x)[few[0]]
    if labelled:
        centres[1] = x[:9].mean(0)
    assert np.array_equal(few[1], ((np.asarray(x) - centres[:, None]) ** 2).sum(-1).argmin(0))


def test_seeds_are_drawn_by_weight():
    x = jnp.zeros((10, 1))
    weights = jnp.asarray([0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    pick = jax.jit(jax.vmap(lambda key: kmeans_plus_plus(key, x, weights, 2)))
    found = np.asarray(pick(jax.random.split(jax.random.key(2), 2000))[0])
    assert set(np.unique(found)) == {1, 4}
    np.testing.assert_allclose((found[:, 0] == 4).mean(), 0.75, atol=0.05)


def test_a_subsample_is_distinct_and_spread_over_the_rows():
    x = jnp.arange(1000.0)
    rows, weights = subsample(jax.random.key(0), x, x + 1, 70)
    assert len(np.unique(rows)) == len(rows) == 70
    np.testing.assert_array_equal(weights, rows + 1)
    # The first stretches are longer by one where they cannot all be equal.
    stretches = np.append(0, np.cumsum([15] * 20 + [14] * 50))
    np.testing.assert_array_equal(np.searchsorted(stretches, np.asarray(rows), side="right") - 1, np.arange(70))
    other, _ = subsample(jax.random.key(1), x, x + 1, 70)
    assert np.any(other != rows)
    whole, _ = subsample(jax.random.key(0), x, x, 1000)
    np.testing.assert_array_equal(whole, x)


def test_short_runs_are_better_than_their_base():
    case, x, _, draw = drawn("short_runs", "spherical")
    _, _, _, base = drawn("kmeans++", "spherical")
    score = jax.jit(jax.vmap(lambda p: case.model.log_likelihood(p, jnp.asarray(x[100:]))))
    assert np.min(score(draw(KEYS))) > np.max(score(base(KEYS))) - 1.0
    assert np.mean(score(draw(KEYS))) > np.mean(score(base(KEYS)))
    assert ShortRuns(runs=2) != ShortRuns(runs=3)
    assert Points() == Points()
