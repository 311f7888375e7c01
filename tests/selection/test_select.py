"""A range of numbers of components in one search: the fits of single ones, and one program for all."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.engine.stop import Stop
from jaxem.init import AbstractInit, KMeansPlusPlus
from jaxem.selection import _sweep
from tests.helpers.compiling import compilations

RNG = np.random.default_rng(3)
KEY = jax.random.key(5)
GAPS = np.r_[RNG.normal(size=(20, 2)), RNG.normal(4, 2, size=(37, 2))]
COUNTS = np.r_[RNG.poisson(2, size=(20, 2)), RNG.poisson(9, size=(37, 2))].astype(float)
HOLES = np.where(RNG.random(GAPS.shape) < 0.1, np.nan, GAPS)
slow = pytest.mark.slow
KINDS = [
    pytest.param(jaxem.Gaussian(), GAPS, id="full", marks=slow),
    pytest.param(jaxem.Gaussian("tied"), GAPS, id="tied", marks=slow),
    pytest.param(jaxem.Poisson(), COUNTS, id="poisson"),
    pytest.param(jaxem.Gaussian("diagonal"), GAPS, id="diagonal", marks=slow),
    pytest.param(jaxem.Gaussian("spherical"), GAPS, id="spherical", marks=slow),
    pytest.param(jaxem.Gaussian("VEV"), GAPS, id="VEV", marks=slow),
    pytest.param(jaxem.StudentT(), GAPS, id="student-t", marks=slow),
    pytest.param(jaxem.Incomplete(jaxem.Gaussian()), HOLES, id="incomplete", marks=slow),
    pytest.param(jaxem.Factor(1), np.c_[GAPS, GAPS @ [1.0, 2.0] + RNG.normal(size=57)], id="factor", marks=slow),
    pytest.param(jaxem.families.NegativeBinomial(), COUNTS, id="negative-binomial", marks=slow),
    pytest.param(jaxem.Bernoulli(), (COUNTS > 4).astype(float), id="bernoulli", marks=slow),
    pytest.param(jaxem.Categorical(3), np.minimum(COUNTS // 4, 2), id="categorical", marks=slow),
    pytest.param(
        jaxem.Product({"a": jaxem.Gaussian("diagonal"), "b": jaxem.Poisson()}, {"a": [0], "b": [1]}),
        np.c_[GAPS[:, :1], COUNTS[:, :1]],
        id="product",
        marks=slow,
    ),
]  # fmt: skip


def mixtures(family, sizes):
    return [jaxem.Mixture(family, k) for k in sizes]


@pytest.mark.parametrize(("family", "x"), KINDS)
@pytest.mark.parametrize(
    "algorithm", [pytest.param(jaxem.em(), marks=slow), jaxem.squarem(tail=True)], ids=["em", "squarem"]
)
def test_each_start_goes_where_it_would_alone(family, x, algorithm, double):
    """Steps, objectives and parameters: the members that a run does not have change nothing."""
    weights = np.r_[0.0, np.tile([1.0, 2.0], 28)]
    options = {"key": KEY, "restarts": 3, "algorithm": algorithm, "weights": weights, "max_steps": 40, "tol": 1e-7}
    require_as_alone(mixtures(family, (2, 1, 4)), x, options)


CHAIN = np.r_[RNG.poisson(2, size=(8, 30, 1)), RNG.poisson(6, size=(4, 30, 1))].astype(float)
CHAIN[:, 10:20] += 5


@pytest.mark.parametrize(
    ("emission", "data"),
    [
        pytest.param(jaxem.Poisson(), CHAIN, id="poisson"),
        pytest.param(jaxem.Gaussian(), CHAIN + RNG.normal(size=CHAIN.shape), id="gaussian", marks=slow),
        pytest.param(
            jaxem.Poisson(), jaxem.Sequences.of([CHAIN[0], CHAIN[1, :7], *CHAIN[4:]]), id="ragged", marks=slow
        ),
    ],
)
@pytest.mark.parametrize(
    "algorithm", [pytest.param(jaxem.em(), marks=slow), jaxem.squarem(tail=True)], ids=["em", "squarem"]
)
def test_chains_of_several_numbers_of_states(emission, data, algorithm, double, monkeypatch):
    shared, together = [], _sweep._together
    monkeypatch.setattr(_sweep, "_together", lambda *args: shared.append(len(args[0])) or together(*args))
    models = [jaxem.HMM(emission, k) for k in (2, 1, 3)]
    options = {"key": KEY, "restarts": 3, "algorithm": algorithm, "max_steps": 40, "tol": 1e-7}
    require_as_alone(models, data, options)
    assert shared == [3]


@slow
def test_chains_that_are_not_alike_in_all_else_go_by_themselves(double, monkeypatch):
    monkeypatch.setattr(_sweep, "_together", None)
    for options in ({"initial": "stationary"}, {"transition_prior": jaxem.priors.Dirichlet(2.0)}):
        models = [jaxem.HMM(jaxem.Poisson(), k, **options) for k in (1, 2)]
        assert len(jaxem.select(models, CHAIN, key=KEY, max_steps=5).fits) == 2


def require_as_alone(models, x, options):
    selection = jaxem.select(models, x, **options)
    weights = options.get("weights")
    for model, fit, row in zip(models, selection.fits, selection.table, strict=True):
        alone = jaxem.fit(model, x, **options)
        np.testing.assert_allclose(fit.restarts.objective, alone.restarts.objective, rtol=1e-8)
        assert np.asarray(fit.restarts.num_steps).tolist() == np.asarray(alone.restarts.num_steps).tolist()
        assert fit.status == alone.status
        assert jax.tree.map(jnp.shape, fit.params) == jax.tree.map(jnp.shape, alone.params)
        for a, b in zip(jax.tree.leaves(fit.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(fit.history, alone.history, rtol=1e-8)
        for name in ("bic", "aic", "icl"):
            found = float(getattr(jaxem, name)(model, alone.params, x, weights))
            assert row[name] == pytest.approx(found, rel=1e-7)
        assert row["num_parameters"] == model.num_parameters(alone.params)


@slow
def test_in_single_precision(single):
    x = GAPS.astype(single) + np.float32(1e3)
    models = mixtures(jaxem.Gaussian(), (1, 2, 3))
    selection = jaxem.select(models, x, key=KEY, restarts=4)
    for model, fit in zip(models, selection.fits, strict=True):
        alone = jaxem.fit(model, x, key=KEY, restarts=4)
        assert fit.converged
        assert fit.params.components.mean.dtype == single
        np.testing.assert_allclose(fit.log_likelihood, alone.log_likelihood, rtol=1e-4)


def test_one_set_of_programs_for_the_range_and_none_for_another():
    def select(sizes, seed=0):
        models = mixtures(jaxem.Gaussian("tied"), sizes)
        return jaxem.select(models, GAPS, key=jax.random.key(seed), restarts=16)

    jaxem.fit(jaxem.GaussianMixture(6, "tied"), GAPS, key=KEY, restarts=33)  # what any fit needs
    _, alone = compilations(
        lambda: jaxem.bic(
            jaxem.GaussianMixture(5, "tied"),
            jaxem.fit(jaxem.GaussianMixture(5, "tied"), GAPS, key=KEY, restarts=33).params,
            GAPS,
        )
    )
    first, several = compilations(lambda: select(range(1, 6)))
    assert several <= alone + 2  # the entropy and the number of rows
    assert len(first.fits) == 5
    assert compilations(lambda: select(range(3, 6), seed=1))[1] == 0


@pytest.mark.slow
def test_models_of_several_kinds(double):
    several = mixtures(jaxem.Gaussian(), (1, 2)) + mixtures(jaxem.Gaussian("diagonal"), (2,))
    selection = jaxem.select([*several, jaxem.PPCA(1)], GAPS, key=KEY, criterion="aic", restarts=2)
    assert [row["model"] for row in selection.table] == [0, 1, 2, 3]
    assert selection.index == int(np.argmin([row["aic"] for row in selection.table]))
    assert selection.best is selection.models[selection.index]
    assert selection.fit is selection.fits[selection.index]


@slow
def test_models_without_discrete_latents(double):
    x = np.cumsum(RNG.normal(size=(2, 30, 1)), 1)
    models = [jaxem.LinearGaussianStateSpace(1)]
    selection = jaxem.select(models, x, key=KEY, max_steps=5)
    assert selection.table[0]["icl"] is None
    assert np.isfinite(selection.table[0]["bic"])
    with pytest.raises(jaxem.DataError, match=re.escape("models[0] has no discrete latents")):
        jaxem.select(models, x, key=KEY, criterion="icl", max_steps=5)


def test_a_criterion_of_ones_own(double):
    models = mixtures(jaxem.Poisson(), (1, 2, 3))
    selection = jaxem.select(models, COUNTS, key=KEY, criterion=lambda model, *_: -model.num_components)
    assert selection.best.num_components == 3
    assert [row["criterion"] for row in selection.table] == [-1, -2, -3]


class Broken(AbstractInit):
    """Starts that are no parameters."""

    def __call__(self, model, key, data, weights):
        params = KMeansPlusPlus()(model, key, data, weights)
        return jax.tree.map(lambda leaf: leaf * jnp.nan, params)


def test_a_model_whose_starts_all_fail_is_listed_and_never_chosen(double):
    bad = jaxem.GaussianMixture(2, start=Broken())
    selection = jaxem.select([bad, jaxem.GaussianMixture(1)], GAPS, key=KEY, restarts=2)
    assert selection.index == 1
    assert selection.fits[0] is None
    assert selection.table[0]["bic"] is None
    assert selection.table[0]["status"].startswith("all 2 starts failed (2 not_finite)")
    with pytest.raises(jaxem.FitError, match=re.escape("models[0]: all 2 starts failed (2 not_finite)")):
        jaxem.select([bad], GAPS, key=KEY, restarts=2)


def test_a_degenerate_fit_is_chosen_only_where_there_is_no_other(double):
    """A component on two equal rows has a likelihood without bound."""
    x = np.r_[np.repeat([[50.0, 50.0]], 3, 0), GAPS]
    models = mixtures(jaxem.Gaussian(), (1, 3))
    selection = jaxem.select(models, x, key=KEY, restarts=8, max_steps=300)
    assert selection.table[1]["status"] == "degenerate_component"
    assert selection.table[1]["bic"] < selection.table[0]["bic"]
    assert selection.index == 0


def test_what_cannot_be_meant_is_refused():
    models = mixtures(jaxem.Gaussian(), (1, 2))
    with pytest.raises(jaxem.DataError, match="models is a single model"):
        jaxem.select(models[0], GAPS, key=KEY)  # pyright: ignore[reportArgumentType]
    with pytest.raises(jaxem.DataError, match="models is empty"):
        jaxem.select([], GAPS, key=KEY)
    with pytest.raises(jaxem.DataError, match=re.escape("models[1]")):
        jaxem.select([models[0], 3], GAPS, key=KEY)  # pyright: ignore[reportArgumentType]
    with pytest.raises(jaxem.DataError, match="no criterion 'BIC'; choose from bic, aic, icl"):
        jaxem.select(models, GAPS, key=KEY, criterion="BIC")
    with pytest.raises(jaxem.DataError, match="fewer than num_components=2"):
        jaxem.select(models, GAPS[:1], key=KEY)
    with pytest.raises(jaxem.DataError, match="called inside"):
        jax.jit(lambda x: jaxem.select(models, x, key=KEY))(GAPS)


def test_a_model_with_one_fixed_start_has_one(double):
    fixed = jaxem.FunctionModel(
        lambda params, row, z: -0.5 * jnp.sum((row - params["mean"][z]) ** 2),
        num_values=2,
        start={"mean": jnp.array([[0.0, 0.0], [4.0, 4.0]])},
    )
    selection = jaxem.select([fixed, jaxem.GaussianMixture(1)], GAPS, key=KEY, restarts=3, max_steps=30)
    assert [len(fit.restarts.objective) for fit in selection.fits] == [1, 3]


ALGORITHMS = {
    "annealed": jaxem.annealed_em(),
    "ecm": jaxem.ecm(("weights",), ("components",)),
    "stochastic": jaxem.stochastic_em(),
    "gradient": jaxem.em_gradient(),
    "hard": jaxem.hard_em(),
    "anderson": jaxem.anderson(),
}


@pytest.mark.parametrize("name", [name if name == "ecm" else pytest.param(name, marks=slow) for name in ALGORITHMS])
def test_any_algorithm(name, double):
    """Those that look at more than the members that are there go by themselves."""
    models = mixtures(jaxem.Gaussian("diagonal"), (1, 3))
    options = {"key": KEY, "restarts": 2, "algorithm": ALGORITHMS[name], "max_steps": 10}
    for model, fit in zip(models, jaxem.select(models, GAPS, **options).fits, strict=True):
        alone = jaxem.fit(model, GAPS, **options)
        np.testing.assert_allclose(fit.restarts.objective, alone.restarts.objective, rtol=1e-7)


@pytest.mark.parametrize(
    ("start", "key"),
    [(KMeansPlusPlus(rows=64), KEY), pytest.param(KMeansPlusPlus(), jax.random.key(0, impl="rbg"), marks=slow)],
    ids=["few rows", "another generator"],
)
def test_starts_are_those_of_a_fit_alone(start, key, double):
    models = [jaxem.GaussianMixture(k, "spherical", start=start) for k in (2, 3)]
    x = np.tile(GAPS, (2, 1)) + RNG.normal(size=(114, 2))
    selection = jaxem.select(models, x, key=key, restarts=3, max_steps=3)
    alone = jaxem.fit(models[0], x, key=key, restarts=3, max_steps=3)
    np.testing.assert_allclose(selection.fits[0].restarts.objective, alone.restarts.objective, rtol=1e-9)


def test_a_criterion_that_is_no_number_never_wins(double):
    models = mixtures(jaxem.Poisson(), (1, 2))

    def first_is_nan(model, *_):
        return np.nan if model.num_components == 1 else 1.0

    assert jaxem.select(models, COUNTS, key=KEY, criterion=first_is_nan).index == 1
    with pytest.raises(jaxem.DataError, match="criterion is NaN for every model"):
        jaxem.select(models, COUNTS, key=KEY, criterion=lambda *_: np.nan)


def test_members_that_would_cost_more_than_compilations_are_not_shared():
    assert _sweep._pays([5, 4, 3, 2, 1], np.zeros((272, 2)), 256)
    assert not _sweep._pays([10, 5, 1], np.zeros((60_000, 16)), 256)


@pytest.mark.parametrize("covariance", ["full", pytest.param("VEV", marks=slow), pytest.param("tied", marks=slow)])
@pytest.mark.parametrize("k", [1, 3])
def test_among_others_as_alone(covariance, k, double):
    model = jaxem.GaussianMixture(k, covariance)
    options = _sweep.Options(KEY, 2, None, None, 30, None, None, None, Stop())
    among = _sweep.fit_among_others(model, GAPS, None, options)
    alone = jaxem.fit(model, GAPS, key=KEY, restarts=2, max_steps=30)
    np.testing.assert_allclose(among.objective, alone.objective, rtol=1e-9)
    np.testing.assert_allclose(among.objective, model.log_likelihood(among.params, GAPS), rtol=1e-9)
