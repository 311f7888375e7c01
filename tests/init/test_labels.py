"""Starts see labels: components with labelled rows start from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.init import METHODS, KMeansPlusPlus
from jaxem.init._init import draw_rows, subsample
from tests.helpers.labelled import BITS, COUNTS, FAR, HOLES, KEYS, LABELS, LINES, SIDE, WIDE, K, N, X, some, starts


def agreement(model, params, rows, truth):
    predicted = jax.vmap(lambda p: model.predict(p, jax.tree.map(jnp.asarray, rows)))(params)
    return (np.asarray(predicted) == truth[None]).mean(1)


@pytest.mark.parametrize("method", METHODS)
def test_every_start_has_the_components_in_their_places(method):
    model = jaxem.GaussianMixture(K, "diagonal", start=METHODS[method])
    drawn = starts(model, FAR)
    assert np.all(np.asarray(drawn.components.mean)[:, 0, 0] < 10)
    assert np.all(np.asarray(drawn.components.mean)[:, 1, 0] > 10)
    assert agreement(model, drawn, FAR, SIDE).min() > 0.95


FAMILIES = {
    "Poisson": (jaxem.Poisson(), COUNTS),
    "Bernoulli": (jaxem.Bernoulli(), BITS),
    "Categorical": (jaxem.Categorical(2), BITS),
    "StudentT": (jaxem.StudentT("diagonal"), FAR),
    "Incomplete": (jaxem.Incomplete(jaxem.Gaussian()), HOLES),
    "Product": (
        jaxem.Product({"a": jaxem.Gaussian(), "b": jaxem.Poisson()}, columns={"a": [0], "b": [1, 2]}),
        WIDE,
    ),
    "NegativeBinomial": (jaxem.families.NegativeBinomial(), COUNTS),
    "CensoredNormal": (jaxem.families.CensoredNormal(), jaxem.Interval.limited(FAR, upper=20.0)),
}
SLOW = {"Bernoulli", "StudentT", "NegativeBinomial", "CensoredNormal", "Incomplete"}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, marks=pytest.mark.slow if method != "kmeans++" or name in SLOW else ())
        for name in FAMILIES
        for method in ("kmeans++", "points", "random")
    ],
)
def test_in_mixtures_of_every_family(name, method):
    family, rows = FAMILIES[name]
    model = jaxem.Mixture(family, K, start=METHODS[method])
    assert agreement(model, starts(model, rows), rows, SIDE).min() > 0.75


@pytest.mark.parametrize(
    "family", [jaxem.LinearRegression(), pytest.param(jaxem.families.TRegression(), marks=pytest.mark.slow)]
)
def test_a_few_labelled_rows_say_which_line_is_which(family):
    model = jaxem.Mixture(family, K)
    drawn = starts(model, LINES)
    # Both lines pass through most rows of neither: the start leans to its own, from where EM finds it.
    slopes = np.asarray(drawn.components.coefficients)[:, :, 1]
    assert np.all(slopes[:, 1] > slopes[:, 0])
    fit = jaxem.fit(model, LINES, labels=LABELS, key=KEYS[0])
    np.testing.assert_allclose(fit.params.components.coefficients, [[-3, -2], [1, 2]], atol=0.2)


def test_experts_start_from_labels():
    model = jaxem.MixtureOfExperts(jaxem.Gaussian("diagonal"), K, gate_deviation=3.0)
    data, labels = jaxem.models.Gated(jnp.asarray(FAR), jnp.asarray(X)), LABELS
    mean = np.asarray(starts(model, data, labels).experts.mean)
    assert np.all(mean[:, 0, 0] < 10)
    assert np.all(mean[:, 1, 0] > 10)


def test_components_without_labels_are_seeded_away_from_the_others():
    side = np.random.default_rng(5).integers(0, 3, 300)
    x = 20.0 * side[:, None] + np.random.default_rng(6).normal(size=(300, 1))
    labels = some(side)
    labels = jnp.where(labels == 1, -1, labels)
    mean = np.asarray(starts(jaxem.GaussianMixture(3, "diagonal"), x, labels).components.mean)[..., 0]
    np.testing.assert_allclose(mean, np.broadcast_to([0.0, 20.0, 40.0], mean.shape), atol=1.5)


def test_unknown_labels_are_no_labels():
    model = jaxem.GaussianMixture(K)
    for rows in (64, 8192):
        own = jaxem.GaussianMixture(K, start=KMeansPlusPlus(rows=rows))
        none, unknown = starts(own, FAR, None), starts(own, FAR, jnp.full(N, -1))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), none, unknown)
    assert model.num_components == K


def test_labels_of_rows_without_weight_are_none():
    """Here wrong ones, and all that a component has."""
    labels = jnp.where(LABELS == 1, -1, LABELS)
    wrong = labels.at[:20].set(jnp.where(SIDE[:20] == 0, 1, 0))
    weights = jnp.ones(N).at[:20].set(0.0)
    model = jaxem.GaussianMixture(K, "diagonal")
    right, given = (starts(model, FAR, own, weights=weights) for own in (labels, wrong))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), right, given)


def test_many_sets_of_labels_and_weights_at_once():
    model = jaxem.GaussianMixture(K, "diagonal", start=KMeansPlusPlus(rows=64))
    sets = jnp.stack([some(SIDE, seed=seed) for seed in range(4)])
    weights = jnp.asarray(np.random.default_rng(8).uniform(0.5, 2, (4, N)))
    draw = jax.vmap(lambda labels, w: model.init(KEYS[0], jaxem.Labelled(jnp.asarray(FAR), labels), w))
    mean = np.asarray(jax.jit(draw)(sets, weights).components.mean)
    assert np.all((mean[:, 0, 0] < 10) & (mean[:, 1, 0] > 10))


def test_a_subsample_keeps_labelled_rows_without_crowding_out_the_others():
    n, most = 1000, 80
    x, labels = jnp.arange(float(n)), np.full(n, -1)
    labels[[5, 500, 999]] = 0
    labels[100:400] = 1
    weights = jnp.ones(n).at[200:300].set(0.0).at[600:].set(2.0)
    data = jaxem.Labelled(x, jnp.asarray(labels))
    for key in KEYS[:4]:
        (rows, kept), w = subsample(key, data, weights, most, 2)
        used = np.asarray(w) > 0
        chosen, kept = np.asarray(rows)[used].astype(int), np.asarray(kept)[used]
        assert len(np.unique(chosen)) == len(chosen)
        assert np.all(np.asarray(weights)[chosen] > 0)
        np.testing.assert_array_equal(labels[chosen], kept)
        assert set(chosen[kept == 0]) == {5, 500, 999}
        assert np.sum(kept == 1) == most // 4
        assert np.sum(kept < 0) == most - 3 - most // 4
        # What each group weighs stays what it was, but for the rows that happen to be chosen.
        for j in (0, 1):
            amount = np.sum(np.asarray(weights)[labels == j])
            assert np.asarray(w)[used][kept == j].sum() == pytest.approx(amount, rel=1e-9)


def test_labelled_rows_alone_fill_a_subsample():
    n, most = 500, 64
    data = jaxem.Labelled(jnp.arange(float(n)), jnp.asarray(np.arange(n) % 2))
    _, w = subsample(KEYS[0], data, jnp.ones(n), most, 2)
    assert np.all(np.asarray(w) > 0)


def test_rows_drawn_for_components_are_their_own():
    labels = jnp.asarray([-1, -1, 0, 0, 2, -1, 1, -1])
    weights = jnp.asarray([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    data = jaxem.Labelled(jnp.zeros(8), labels)
    found = np.asarray(jax.vmap(lambda key: draw_rows(key, data, weights, 4))(jax.random.split(KEYS[0], 50)))
    assert set(found[:, 0]) == {2}
    assert set(found[:, 2]) == {4}
    assert set(found[:, 1]) == set(found[:, 3]) == {0, 1, 7}
    assert np.all(found[:, 1] != found[:, 3])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_long_table_with_three_labels_a_cluster(method):
    rng = np.random.default_rng(9)
    centres, side = 15 * np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 2]]), rng.integers(0, 5, 100_000)
    x = (centres[side] + rng.normal(size=(100_000, 2))).astype(np.float32)
    model = jaxem.GaussianMixture(5)
    for seed in range(3):
        fit = jaxem.fit(model, x, labels=some(side, 3, seed), key=jax.random.key(seed), init=method)
        assert np.mean(np.asarray(model.predict(fit.params, jnp.asarray(x))) == side) > 0.999
