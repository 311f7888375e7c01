"""The observed information against closed forms, published standard errors and the Hessian of the likelihood."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

import jaxem
from jaxem._algorithm import default_algorithm
from jaxem.information import observed
from jaxem.information._matrices import matrices
from jaxem.latent import Categorical
from tests.helpers import engine, problems, product, published
from tests.helpers.hessian import by_hessian

EXACT = ("oakes", "hessian", "louis", "sem")


def example(name):
    path = Path(__file__).parents[2] / "docs" / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"observed_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def single(family, column):
    """A model of one distribution, its data, and the maximum that their mean (and variance) are."""
    x = np.asarray(column, float)[:, None]
    mean = jnp.asarray(x.mean(0))
    params = {
        "poisson": (jaxem.Poisson(), lambda: jaxem.families.PoissonParams(mean)),
        "bernoulli": (jaxem.Bernoulli(), lambda: jaxem.families.BernoulliParams(mean)),
        "gaussian": (
            jaxem.Gaussian("diagonal"),
            lambda: jaxem.families.GaussianParams(mean, jnp.asarray(x.var(0))),
        ),
    }[family]
    return jaxem.Single(params[0]), params[1](), jnp.asarray(x)


COUNTS = [0, 1, 1, 2, 3, 3, 5, 9]


# Closed forms


def test_poisson_rate():
    model, params, x = single("poisson", COUNTS)
    found = observed(model, params, x)
    np.testing.assert_allclose(found.standard_errors.rate, [np.sqrt(3 / 8)], rtol=1e-12)
    np.testing.assert_allclose(found.missing_fraction.rate, [0], atol=1e-12)
    np.testing.assert_allclose(found.matrix, [[24.0]], rtol=1e-12)  # of the logarithm of the rate
    wide = 1.959963984540054 / np.sqrt(24)
    interval = found.interval()
    np.testing.assert_allclose(interval.lower.rate, [3 * np.exp(-wide)], rtol=1e-9)
    np.testing.assert_allclose(interval.upper.rate, [3 * np.exp(wide)], rtol=1e-9)
    assert interval.scales == {"rate": "log"}
    assert found.unidentified == found.boundary == ()
    assert "oakes, 1 coordinates" in repr(found)
    with pytest.raises(ValueError, match="level"):
        found.interval(95)


def test_bernoulli_probability():
    model, params, x = single("bernoulli", [0, 0, 0, 1, 1])
    found = observed(model, params, x)
    np.testing.assert_allclose(found.standard_errors.probability, [np.sqrt(0.24 / 5)], rtol=1e-12)
    wide = 1.959963984540054 / np.sqrt(5 * 0.24)
    low = 1 / (1 + np.exp(wide - np.log(0.4 / 0.6)))
    np.testing.assert_allclose(found.interval().lower.probability, [low], rtol=1e-9)
    odds = found.delta(lambda p: {"odds": p.probability / (1 - p.probability)})
    np.testing.assert_allclose(odds.value["odds"], [2 / 3], rtol=1e-12)
    np.testing.assert_allclose(odds.standard_error["odds"], [np.sqrt(0.24 / 5) / 0.36], rtol=1e-12)
    np.testing.assert_allclose(odds.covariance, [[0.24 / 5 / 0.36**2]], rtol=1e-12)
    test = found.wald(lambda p: p.probability - 0.6)
    np.testing.assert_allclose(test.statistic, 0.04 / (0.24 / 5), rtol=1e-9)
    np.testing.assert_allclose(test.p_value, 0.3613104285261789, rtol=1e-9)
    assert test.degrees_of_freedom == 1
    with pytest.raises(ValueError, match="does not depend"):
        found.wald(lambda p: jnp.ones(1))


def test_normal_mean_and_variance():
    model, params, x = single("gaussian", COUNTS)
    found = observed(model, params, x)
    variance = np.var(COUNTS)
    np.testing.assert_allclose(found.standard_errors.mean, [np.sqrt(variance / 8)], rtol=1e-12)
    np.testing.assert_allclose(found.standard_errors.covariance, [variance * np.sqrt(2 / 8)], rtol=1e-12)
    both = found.wald(lambda p: (p.mean - 3, p.covariance - variance))
    assert both.degrees_of_freedom == 2
    assert both.p_value > 1 - 1e-9


def test_a_sandwich_forgives_a_wrong_distribution():
    """That of a mean is the variance of the rows (Huber 1967), whatever the model has for it."""
    model, params, x = single("poisson", COUNTS)
    found = observed(model, params, x, method="sandwich")
    residual = np.array(COUNTS) - 3.0
    np.testing.assert_allclose(found.standard_errors.rate, [np.sqrt(np.sum(residual**2)) / 8], rtol=1e-12)
    groups = np.array(["a", "b"])[[0, 0, 1, 1, 0, 0, 1, 1]]
    found = observed(model, params, x, method="sandwich", groups=groups)
    sums = [residual[groups == name].sum() for name in "ab"]
    np.testing.assert_allclose(found.standard_errors.rate, [np.sqrt(np.sum(np.square(sums))) / 8], rtol=1e-12)
    found = observed(model, params, x, method="scores")
    np.testing.assert_allclose(found.matrix, [[np.sum(residual**2)]], rtol=1e-12)


# Published


@pytest.mark.parametrize("method", ["oakes", *(pytest.param(m, marks=pytest.mark.slow) for m in EXACT[1:])])
def test_london_times(method):
    """Hasselblad (1969); the standard errors that turboEM prints have a relative error of 7e-4."""
    problem = problems.london_times()
    x, w = jnp.asarray(problem.x, float), jnp.asarray(problem.weights)
    share = published.LONDON_TIMES_WEIGHT
    rates = jnp.array(published.LONDON_TIMES_RATES)[:, None]
    params = jaxem.models.MixtureParams(jnp.array([share, 1 - share]), jaxem.families.PoissonParams(rates))
    found = observed(jaxem.Mixture(jaxem.Poisson(), 2), params, x, weights=w, method=method)
    errors = found.delta(lambda p: (p.weights[0], p.components.rate))
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(errors.standard_error)])
    np.testing.assert_allclose(flat, published.LONDON_TIMES_ERRORS, rtol=2e-9)
    np.testing.assert_allclose(
        np.linalg.inv(errors.covariance)[np.triu_indices(3)], published.LONDON_TIMES_INFORMATION, atol=2e-5
    )
    left = linalg.eigh(found.matrix, found.complete, eigvals_only=True)
    np.testing.assert_allclose(1 - left, [0.995666223, 0.720418155, 0], atol=1e-9)


def test_linkage():
    """Dempster, Laird and Rubin (1977); information by Louis (1982), standard error by Meng and Rubin (1991)."""
    linkage = example("linkage")
    cells, counts = linkage.data()
    t = (15 + 53809**0.5) / 394
    found = observed(linkage.Linkage(), linkage.LinkageParams(jnp.array(t)), cells, weights=counts)
    np.testing.assert_allclose(found.standard_errors.t, 0.05146734920088868, rtol=1e-9)
    slope = t * (1 - t)  # of the parameter in its log-odds
    np.testing.assert_allclose(found.matrix / slope**2, [[377.51690039468724]], rtol=1e-9)
    np.testing.assert_allclose(found.complete / slope**2, [[435.31785379896564]], rtol=1e-9)
    np.testing.assert_allclose(found.missing_fraction.t, 0.1327787337455989, rtol=1e-9)


def test_blood_groups():
    """Frequencies of the alleles A and B: data of Clarke et al. (1959), errors as verified by direct maximisation."""
    abo = example("abo")
    groups, counts = abo.data()
    model = abo.BloodGroups()
    fit = engine.solve(model, model.init(None, groups, counts), groups, counts, tol=1e-15)
    found = observed(model, fit.params, groups, weights=counts)
    np.testing.assert_allclose(found.standard_errors.frequency[:2], [0.01351735, 0.00684499], atol=6e-9)


# Laws

# One for each way in which it is worked out, and each kind of latent.
_FAST = ("bernoulli", "function", "factors", "censored regression")


MODELS = [name for name, cell in product.models().items() if "expectation" not in cell.model.latent.lacks]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in _FAST else pytest.mark.slow) for n in MODELS])
def test_it_is_minus_the_hessian_of_the_objective(name):
    cell = product.models()[name]
    expected = by_hessian(cell)
    found = matrices(cell.model, cell.start, cell.x, weights=cell.weights)
    np.testing.assert_allclose(found.observed, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_exact_methods_agree(name):
    cell = product.models()[name]
    ask = partial(matrices, cell.model, cell.start, cell.x, weights=cell.weights)
    expected = ask().observed
    np.testing.assert_allclose(ask(method="hessian").observed, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    if not isinstance(cell.model.bound().latent, Categorical):
        with pytest.raises(jaxem.MissingCapabilityError, match="Louis"):
            ask(method="louis")
        return
    found = ask(method="louis").observed
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


# Of each kind of family, latent and prior; the rate matrix takes a fit to convergence.
_FITTED = ("full", "diagonal", "spherical", "tied, priors", "poisson, priors", "VEV", "bernoulli", "function")
_FITTED += ("chain, priors", "Student t", "regressions", "factors", "missing", "state space")


@pytest.mark.slow
@pytest.mark.parametrize("name", _FITTED)
def test_sem_agrees_at_a_maximum(name):
    cell = product.models()[name]
    algorithm = jaxem.squarem(default_algorithm(cell.model))
    fit = engine.solve(cell.model, cell.start, cell.x, cell.weights, algorithm=algorithm, tol=1e-14, max_steps=3000)
    ask = partial(matrices, cell.model, fit.params, cell.x, weights=cell.weights)
    expected = ask().observed
    np.testing.assert_allclose(ask(method="sem").observed, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_single_precision(name):
    cell = product.models()[name]
    expected = matrices(cell.model, cell.start, cell.x, weights=cell.weights).observed
    model, start, x, w = jax.tree.map(
        lambda leaf: leaf.astype(np.float32) if getattr(leaf, "dtype", None) == np.float64 else leaf, tuple(cell)
    )
    with jax.enable_x64(False):
        found = matrices(model, start, x, weights=w)
    assert found.observed.dtype == np.float32
    np.testing.assert_allclose(found.observed, expected, atol=1e-2 * np.abs(expected).max())


@pytest.fixture(scope="module")
def mixture():
    case = engine.case("poisson")
    fit = engine.solve(case.model, case.start, case.x, tol=1e-12)
    return case.model, fit.params, case.x, observed(case.model, fit.params, case.x)


def test_a_weight_counts_as_so_many_rows(mixture):
    model, params, x, _ = mixture
    w = np.arange(len(x)) % 3
    rows = np.concatenate([np.asarray(x), np.full((3, 2), np.nan)])
    found = matrices(model, params, rows, weights=np.concatenate([w, np.zeros(3)]))
    expected = matrices(model, params, np.repeat(np.asarray(x), w, axis=0))
    for one, other in zip(jax.tree.leaves(found[1:]), jax.tree.leaves(expected[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_it_works_under_jit(mixture):
    model, params, x, expected = mixture
    ask = jax.jit(lambda params, x: observed(model, params, x).matrix)
    np.testing.assert_allclose(ask(params, x), expected.matrix, rtol=1e-9)
    with pytest.raises(jaxem.DataError, match="traced"):
        jax.jit(lambda params, x: observed(model, params, x).standard_errors)(params, x)


def test_a_known_parameter_has_no_error(mixture):
    _, params, x, whole = mixture
    known = jaxem.Mixture(jaxem.Poisson(), 3, frozen=("weights",))
    found = observed(known, params, x)
    np.testing.assert_array_equal(found.standard_errors.weights, np.zeros(3))
    np.testing.assert_allclose(found.matrix, whole.matrix[2:, 2:], rtol=1e-9)
    assert np.all(found.standard_errors.components.rate < whole.standard_errors.components.rate)
    assert found.unidentified == found.boundary == ()
    np.testing.assert_array_equal(found.interval().upper.weights, params.weights)


@pytest.mark.slow
def test_all_methods_agree_in_large_samples():
    model, params = (
        jaxem.Mixture(jaxem.Poisson(), 2),
        jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), jaxem.families.PoissonParams(jnp.array([[2.0], [8.0]]))),
    )
    x, _ = model.sample(jax.random.key(3), params, 100_000)
    fit = engine.solve(model, params, x, tol=1e-14)
    errors = [
        jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(found.standard_errors)])
        for found in (observed(model, fit.params, x, method=m) for m in ("oakes", "scores", "sandwich"))
    ]
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.02)
    np.testing.assert_allclose(errors[2], errors[0], rtol=0.02)


# What is refused


def test_what_has_not_converged_is_refused(mixture):
    model, params, x, found = mixture
    assert found.decrement < 1e-3
    away = params._replace(components=jaxem.families.PoissonParams(params.components.rate * 1.05))
    with pytest.raises(jaxem.FitError, match=r"standard errors away from the maximum.*tol="):
        observed(model, away, x)


def test_wrong_arguments_are_refused(mixture):
    model, params, x, _ = mixture
    ask = partial(observed, model, params, x)
    with pytest.raises(jaxem.DataError, match=r"method must be one of 'oakes'.*got 'fisher'"):
        ask(method="fisher")
    with pytest.raises(jaxem.DataError, match="groups are for"):
        ask(groups=np.arange(len(x)))
    with pytest.raises(jaxem.DataError, match="groups must be 400 labels"):
        ask(method="sandwich", groups=[1, 2])
    with pytest.raises(jaxem.DataError, match="groups has one label"):
        ask(method="sandwich", groups=np.ones(len(x)))
    with pytest.raises(jaxem.DataError, match="groups are traced"):
        jax.eval_shape(lambda groups: ask(method="sandwich", groups=groups), jnp.ones(len(x)))
    cell = product.models()["factors"]
    with pytest.raises(jaxem.MissingCapabilityError, match="Louis"):
        jax.eval_shape(lambda x: observed(cell.model, cell.start, x, method="louis").matrix, cell.x)
