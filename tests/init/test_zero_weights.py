"""Rows of weight 0 are no rows: the start is what it is without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.init import KMeansPlusPlus, Points, RandomResponsibilities
from jaxem.init._init import draw_rows, subsample
from tests.helpers.labelled import BITS, COUNTS, FAR, LINE, SIDE, WIDE, X, starts

N = len(SIDE)
KEYS = jax.random.split(jax.random.key(5), 4)
COUNTED = jaxem.Responses(X, COUNTS[:, 0])
HOLES = np.where(np.random.default_rng(6).random(WIDE.shape) < 0.2, np.nan, 1.0)


def about(key, point, rows, weights):
    return {"centre": point[0]}


LAPLACE = jaxem.families.FunctionFamily(lambda params, row: -jnp.abs(row[0] - params["centre"]), about)
# Families, and rows of them: what must not be looked at is other rows of theirs, a long way off.
FAMILIES = {
    "Gaussian": (jaxem.Gaussian(), WIDE, 1e3),
    "Poisson": (jaxem.Poisson(), COUNTS, 1e3),
    "Product": (
        jaxem.Product({"a": jaxem.Gaussian(), "b": jaxem.Poisson()}, columns={"a": [0], "b": [1, 2]}),
        WIDE,
        1e3,
    ),
    "Categorical": (jaxem.Categorical(2), BITS, 0),
    "Incomplete": (jaxem.Incomplete(jaxem.Gaussian()), WIDE * HOLES, 1e3),
    "IncompleteColumns": (jaxem.families.IncompleteColumns(jaxem.Poisson()), COUNTS * HOLES[:, :2], 1e3),
    "FunctionFamily": (LAPLACE, np.abs(WIDE) * [1.0, 5.0, 0.1], 1e3),
    "LinearRegression": (jaxem.LinearRegression(), jaxem.Responses(X, LINE), 1e3),
    "PoissonRegression": (jaxem.families.PoissonRegression(), COUNTED, 10.0),
    "StudentT": (jaxem.StudentT(), WIDE, 1e3),
}
SLOW = {"Product", "StudentT", "Categorical", "PoissonRegression"}
UNBOUND = {"Gaussian", "FunctionFamily"}


def padded(rows, far):
    """Rows with others of weight 0 between and behind them."""
    where = np.sort(np.r_[np.arange(N), np.arange(0, N, 2), np.repeat(N - 1, 40)])
    real = np.r_[True, where[1:] != where[:-1]]

    def one(leaf):
        leaf = np.asarray(leaf)[where]
        return np.where(real.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, np.round(leaf + far))

    return jax.tree.map(one, rows), jnp.asarray(real.astype(float))


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        pytest.param(name, bound, marks=pytest.mark.slow if name in SLOW or not (bound or name in UNBOUND) else ())
        for name in FAMILIES
        for bound in (False, True)
    ],
)
def test_k_means_starts_are_those_without_them(name, bound):
    family, rows, far = FAMILIES[name]
    model = jaxem.Mixture(family, 3)
    longer, weights = padded(rows, far)
    alone = starts(model, rows, None, KEYS, bound=bound)
    given = starts(model, longer, None, KEYS, weights, bound=bound)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), alone, given)


def test_a_long_table_of_few_rows_starts_as_these_do():
    """More rows than a start looks at, but not of positive weight."""
    longer, weights = padded(FAR, 1e3)
    model = jaxem.GaussianMixture(2, start=KMeansPlusPlus(rows=N + 10))
    assert len(longer) > N + 10
    alone, given = starts(model, FAR, None, KEYS), starts(model, longer, None, KEYS, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), alone, given)


@pytest.mark.parametrize("rule", [Points(), RandomResponsibilities()])
def test_other_starts_stay_among_the_rows_that_count(rule):
    longer, weights = padded(FAR, 1e3)
    mean = np.asarray(starts(jaxem.GaussianMixture(2, start=rule), longer, None, KEYS, weights).components.mean)
    assert FAR.min() <= mean.min() <= mean.max() <= FAR.max()
    assert len(np.unique(mean)) == mean.size


@pytest.mark.parametrize("stretch", [slice(0, 300), slice(650, 1000), slice(0, 1000, 3), slice(400, 440)])
def test_a_subsample_is_of_rows_that_count(stretch):
    n, most = 1000, 70
    x, weights = jnp.arange(float(n)), np.zeros(n)
    weights[stretch] = np.random.default_rng(0).uniform(1e-12, 1, len(weights[stretch]))
    real = np.flatnonzero(weights)
    draw = jax.jit(jax.vmap(lambda key: subsample(key, x, jnp.asarray(weights), most)))
    rows, w = map(np.asarray, draw(jax.random.split(jax.random.key(0), 300)))
    np.testing.assert_array_equal(np.sum(w > 0, 1), min(most, len(real)))
    used = [row[own > 0].astype(int) for row, own in zip(rows, w, strict=True)]
    assert all(len(np.unique(row)) == len(row) for row in used)
    np.testing.assert_array_equal(w[0][w[0] > 0], weights[used[0]])
    # Each of them has its chance.
    np.testing.assert_array_equal(np.unique(np.concatenate(used)), real)


def test_fewer_rows_than_components():
    weights = jnp.zeros(6).at[jnp.array([1, 4])].set(1.0)
    found = draw_rows(jax.random.key(0), jnp.zeros(6), weights, 4)
    assert set(np.asarray(found)) == {1, 4}
    found = draw_rows(jax.random.key(0), jnp.zeros(2), jnp.ones(2), 5)
    assert set(np.asarray(found)) == {0, 1}


def test_documents_without_weight_seed_no_topic():
    words = np.tile(np.arange(4), (9, 1))
    counts = np.ones((9, 4))
    counts[1] = [0, 50, 0, 0]
    weights = jnp.zeros(9).at[0].set(1.0)
    model = jaxem.LDA(3, 4)
    topics = model.init(jax.random.key(0), jaxem.Documents(words, counts), weights).topics
    assert float(topics.max()) < 0.6
