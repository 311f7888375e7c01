"""Columns of categories that have numbers of their own."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jaxem
from jaxem.families import Categorical, CategoricalParams, IncompleteColumns
from jaxem.priors import Dirichlet
from jaxem.testing import check_model

LEVELS = (2, 5, 3)
RNG = np.random.default_rng(3)
N = 60
SIDE = RNG.integers(0, 2, N)
TABLE = np.stack([(RNG.integers(0, c, N) + SIDE) % c for c in LEVELS], 1).astype(float)
PRESENT = np.arange(5)[None] < np.array(LEVELS)[:, None]


def blocks():
    """The same columns as a product of families that have one each."""
    return jaxem.Product({f"c{j}": Categorical(c) for j, c in enumerate(LEVELS)}, {f"c{j}": [j] for j in range(3)})


def some(dtype=float, k=2):
    p = [np.random.default_rng(j).dirichlet(np.ones(c), k) for j, c in enumerate(LEVELS)]
    table = np.stack([np.pad(own, ((0, 0), (0, 5 - own.shape[1]))) for own in p], 1)
    return CategoricalParams(jnp.asarray(table, dtype)), {
        f"c{j}": CategoricalParams(jnp.asarray(own[:, None], dtype)) for j, own in enumerate(p)
    }


def test_it_is_the_product_of_its_columns(dtype):
    """Densities, coordinates, steps of EM and the number of parameters."""
    own, apart = some(dtype)
    x, weights = jnp.asarray(TABLE, dtype), jnp.asarray([0.4, 0.6], dtype)
    one, other = jaxem.Mixture(Categorical(LEVELS), 2), jaxem.Mixture(blocks(), 2)
    own, apart = jaxem.models.MixtureParams(weights, own), jaxem.models.MixtureParams(weights, apart)
    rtol = 1e-5 if dtype == jnp.float32 else 1e-10
    assert one.num_parameters(own) == other.num_parameters(apart) == 1 + 2 * (1 + 4 + 2)

    @eqx.filter_jit
    def run(model, params, x):
        free = model.unconstrain(params)
        fit = jaxem.solve(model, params, x, max_steps=5)
        return model.log_prob(params, x), free.components, model.constrain(free).components, fit.params.components

    density, free, back, fitted = jax.tree.map(np.asarray, run(one, own, x))
    other_density, other_free, _, other_fitted = jax.tree.map(np.asarray, run(other, apart, x))
    assert_allclose(density, other_density, rtol=rtol)
    assert free.probabilities.shape == (2, 7)
    columns = [leaf.probabilities[:, 0] for leaf in other_free.values()]
    assert_allclose(free.probabilities, np.concatenate(columns, -1), rtol=rtol, atol=rtol)
    assert_allclose(back.probabilities, own.components.probabilities, rtol=rtol, atol=rtol)
    assert not np.any(fitted.probabilities[:, ~PRESENT])
    for j, c in enumerate(LEVELS):
        assert_allclose(fitted.probabilities[:, j, :c], other_fitted[f"c{j}"].probabilities[:, 0], rtol=10 * rtol)


@pytest.mark.parametrize("algorithm", [jaxem.em_gradient(), jaxem.squarem(), jaxem.gem()])
def test_what_is_not_there_stays_away(algorithm):
    model = jaxem.Mixture(Categorical(LEVELS), 2)
    start = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), some()[0])
    fit = jaxem.solve(model, start, jnp.asarray(TABLE), algorithm=algorithm, max_steps=4)
    p = np.asarray(fit.params.components.probabilities)
    assert np.isfinite(p).all()
    assert not p[:, ~PRESENT].any()
    assert p[:, PRESENT].min() > 0
    gradient = jax.grad(lambda p: model.log_likelihood(p, jnp.asarray(TABLE)))(start)
    assert np.isfinite(gradient.components.probabilities).all()


@pytest.mark.parametrize("concentration", [1.7, np.array([1.5, 2.0, 1.0, 3.0, 1.2])])
def test_priors_are_those_of_the_categories_of_each_column(concentration):
    prior = Dirichlet(concentration)
    family, params = Categorical(LEVELS, prior), some()[0]
    each = [Dirichlet(np.broadcast_to(concentration, 5)[:c]) for c in LEVELS]
    columns = [params.probabilities[:, j, :c] for j, c in enumerate(LEVELS)]
    expected = sum(float(own.log_prob(p)) for own, p in zip(each, columns, strict=True))
    assert float(family.log_prior(params)) == pytest.approx(expected, rel=1e-12)
    # Pseudo-counts do not leak.
    model = jaxem.Single(family)
    fit = jaxem.fit(model, TABLE, key=jax.random.key(0))
    found = np.asarray(fit.params.probabilities)
    assert not found[~PRESENT].any()
    for j, c in enumerate(LEVELS):
        counts = np.bincount(TABLE[:, j].astype(int), minlength=c) + np.broadcast_to(concentration, 5)[:c] - 1
        assert_allclose(found[j, :c], counts / counts.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "missing"),
    [
        (jaxem.vbem(), True),
        (jaxem.gibbs(20), False),
        pytest.param(jaxem.vbem(), False, marks=pytest.mark.slow),
        pytest.param(jaxem.gibbs(20), True, marks=pytest.mark.slow),
    ],
)
def test_posteriors(algorithm, missing):
    family = Categorical(LEVELS, Dirichlet(0.8))
    model = jaxem.Mixture(IncompleteColumns(family) if missing else family, 2, weights_prior=Dirichlet(1.0))
    x = np.where(RNG.random(TABLE.shape) < 0.2, np.nan, TABLE) if missing else TABLE
    fit = jaxem.fit(model, x, key=jax.random.key(0), algorithm=algorithm, max_steps=30)
    p = np.asarray(fit.params.components.probabilities)
    assert_allclose(p.sum(-1), 1, rtol=1e-9)
    assert not p[:, ~PRESENT].any()
    if fit.posterior is not None:
        shapes = [own.concentration.shape for own in fit.posterior.components]
        assert shapes == [(2, c) for c in LEVELS]
        assert jaxem.status_name(fit.status) in ("converged", "max_steps_reached")
        assert np.all(np.diff(np.asarray(fit.history)) > -1e-9)


def test_with_missing_entries():
    x = TABLE.copy()
    x[RNG.random(x.shape) < 0.2] = np.nan
    model = jaxem.Mixture(IncompleteColumns(Categorical(LEVELS, Dirichlet(1.5))), 2)
    fit = jaxem.fit(model, x, key=jax.random.key(1), max_steps=20)
    p = np.asarray(fit.params.components.probabilities)
    assert not p[:, ~PRESENT].any()
    assert model.num_parameters(fit.params) == 1 + 2 * 7
    drawn = np.asarray(model.impute(fit.params, jnp.asarray(x), key=jax.random.key(2), num_draws=20))
    assert np.all(drawn < np.array(LEVELS))
    impossible = jnp.asarray(np.where(np.arange(3)[None] == 0, 2.0, x[:4]))
    assert np.all(np.asarray(jax.jit(model.log_prob)(fit.params, impossible)) == -np.inf)
    with pytest.raises(jaxem.DataError, match="is not one of the categories 0 to 1"):
        model.log_prob(fit.params, impossible)


def test_categories_that_never_occur_are_no_parameters():
    """Coded from 1, with a gap, and one among rows of weight 0 alone."""
    x = TABLE + 1
    x[x[:, 1] == 3, 1] = 5
    weights = np.where(x[:, 2] == 3, 0.0, 1.0)
    for model in (jaxem.Mixture(Categorical(7), 2), jaxem.Mixture(IncompleteColumns(Categorical((3, 6, 4))), 2)):
        fit = jaxem.fit(model, x, key=jax.random.key(0), weights=weights, max_steps=5)
        assert model.num_parameters(fit.params) == 1 + 2 * (1 + 3 + 1)
        traced = jax.jit(lambda p, model=model: jaxem.aic(model, p, jnp.asarray(x), jnp.asarray(weights)))(fit.params)
        assert float(traced) == pytest.approx(float(jaxem.aic(model, fit.params, jnp.asarray(x), jnp.asarray(weights))))
        frozen = dataclasses.replace(model, frozen=("components",))
        assert frozen.num_parameters(fit.params) == 1
    # A prior gives them a probability, and so a place among the parameters.
    prior = jaxem.Mixture(Categorical(7, Dirichlet(2.0)), 2)
    start = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), CategoricalParams(jnp.full((2, 3, 7), 1 / 7)))
    fit = jaxem.solve(prior, start, jnp.asarray(x), max_steps=5)
    assert prior.num_parameters(fit.params) == 1 + 2 * 3 * 6


@pytest.mark.parametrize("seed", range(3))
def test_starts_and_draws(seed):
    model = jaxem.Mixture(Categorical(LEVELS), 2)
    start = jax.jit(model.init)(jax.random.key(seed), jnp.asarray(TABLE))
    p = np.asarray(start.components.probabilities)
    assert_allclose(p.sum(-1), 1, rtol=1e-9)
    assert not p[:, ~PRESENT].any()
    assert p[:, PRESENT].min() > 0
    x, _ = model.sample(jax.random.key(seed), start, 300)
    assert_array_equal(np.max(np.asarray(x), 0), np.array(LEVELS) - 1)


def test_hidden_markov_models_and_products():
    chain = jaxem.HMM(Categorical(LEVELS), 2)
    fit = jaxem.fit(chain, TABLE[None], key=jax.random.key(0), max_steps=4)
    assert chain.num_parameters(fit.params) == 1 + 2 + 2 * 7
    family = jaxem.Product({"a": Categorical((2, 5)), "b": Categorical(3)}, columns={"a": [0, 1], "b": [2]})
    model = jaxem.Mixture(family, 2)
    own = {
        "a": CategoricalParams(some()[0].probabilities[:, :2]),
        "b": CategoricalParams(some()[0].probabilities[:, 2:, :3]),
    }
    params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), own)
    whole = jaxem.Mixture(Categorical(LEVELS), 2)
    expected = whole.log_prob(params._replace(components=some()[0]), jnp.asarray(TABLE))
    assert_allclose(model.log_prob(params, jnp.asarray(TABLE)), expected, rtol=1e-12)


def test_levels_read_off_a_table():
    table = np.array([[0, 4, np.nan], [1, 0, 2], [0, 9, 0]])
    assert Categorical.of(table).num_categories == (2, 10, 3)
    assert Categorical.of(table, weights=[1, 1, 0]).num_categories == (2, 5, 3)
    assert Categorical.of([[0], [0]]).num_categories == (1,)
    assert Categorical.of(table[:2], prior=Dirichlet(2.0)).prior is not None
    for wrong in ([[0.5]], [[-1]], [[np.inf]]):
        with pytest.raises(jaxem.DataError, match="is no code"):
            Categorical.of(wrong)
    with pytest.raises(jaxem.DataError, match=r"shape \[rows, columns\], got shape \(2,\)"):
        Categorical.of([0, 1])


def test_codes_and_options_that_are_refused():
    family = Categorical(LEVELS)
    family.check(TABLE)
    with pytest.raises(
        jaxem.DataError, match=r"row 0, column 0 has value 2.0, which is not one of the categories 0 to 1"
    ):
        family.check(np.array([[2.0, 0.0, 0.0]]))
    with pytest.raises(jaxem.DataError, match="has 2 columns, but num_categories"):
        family.check(TABLE[:, :2])
    with pytest.raises(jaxem.DataError, match=r"column 2 .* categories 0 to 2"):
        IncompleteColumns(family).check(np.where(np.arange(3) == 2, 4.0, TABLE))
    for wrong in ((2, 0), (2, 2.5), (), "23"):
        with pytest.raises(ValueError, match="num_categories"):
            Categorical(wrong)
    # No density where nobody checks.
    x = jnp.array([[1.0, 4.0, 2.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    assert np.isfinite(family.log_base(x)).tolist() == [True, False, False]


def test_the_same_number_for_all_is_an_integer():
    assert Categorical((3, 3)).present is None
    a, b = (jaxem.fit(jaxem.Single(Categorical(c)), TABLE % 2, key=jax.random.key(0)) for c in (2, (2, 2, 2)))
    assert_array_equal(a.params.probabilities, b.params.probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("family", [Categorical(LEVELS), IncompleteColumns(Categorical(LEVELS))])
def test_contract(family):
    start = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), some()[0])
    check_model(jaxem.Mixture(family, 2), start, jnp.asarray(TABLE[:30]))
