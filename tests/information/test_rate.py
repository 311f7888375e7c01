"""The rate matrix of EM against published and exact rates of convergence."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.information import fraction_missing, rate_eigenvalues, rate_matrix
from tests.helpers import engine, problems


def example(name):
    path = Path(__file__).parents[2] / "docs" / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"rate_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_linkage_loses_the_published_fraction():
    """Dempster, Laird and Rubin (1977); the information is that of Louis (1982)."""
    linkage = example("linkage")
    cells, counts = linkage.data()
    params = linkage.LinkageParams(jnp.array((15 + 53809**0.5) / 394))
    found = fraction_missing(linkage.Linkage(), params, cells, weights=counts)
    np.testing.assert_allclose(found, 0.1327787337455989, rtol=1e-12)
    np.testing.assert_allclose(found, 57.8009534042784 / 435.31785379896564, rtol=1e-9)


MLE = jaxem.models.MixtureParams(
    jnp.array([0.3598853969849348, 1 - 0.3598853969849348]),
    jaxem.families.PoissonParams(jnp.array([[1.2560951012243379], [2.6634043566324726]])),
)


def times():
    problem = problems.london_times()
    return jnp.asarray(problem.x, float), jnp.asarray(problem.weights)


def test_london_times_loses_the_verified_fractions():
    x, w = times()
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    found = rate_eigenvalues(model, MLE, x, weights=w)
    np.testing.assert_allclose(found, [0.995666223, 0.720418155, 0], atol=1e-9)


@pytest.mark.slow
def test_frozen_parameters_lose_nothing():
    x, w = times()
    model = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("weights",))
    matrix = rate_matrix(model, MLE, x, weights=w)
    assert matrix.shape == (2, 2)
    whole = rate_matrix(jaxem.Mixture(jaxem.Poisson(), 2), MLE, x, weights=w)
    np.testing.assert_allclose(matrix, whole[1:, 1:], rtol=1e-9)


@pytest.mark.slow
def test_em_gradient_converges_like_em():
    x, w = times()
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    found = rate_eigenvalues(model, MLE, x, weights=w, algorithm=jaxem.em_gradient())
    np.testing.assert_allclose(found, [0.995666223, 0.720418155, 0], atol=1e-6)


@pytest.mark.slow
def test_a_model_without_natural_parameters_loses_as_much():
    """The same mixture as a function and as a family: what is hidden does not depend on how it is written."""
    family, function = engine.case("poisson"), engine.case("function")
    fit = engine.solve(family.model, family.start, family.x, tol=1e-14)
    expected = rate_eigenvalues(family.model, fit.params, family.x)
    assert expected[0] > 0.1
    np.testing.assert_allclose(rate_eigenvalues(function.model, fit.params, function.x), expected, atol=1e-6)


@pytest.mark.parametrize("algorithm", [jaxem.squarem(), jaxem.stochastic_em(), jaxem.stepwise_em()])
def test_algorithms_without_a_map_are_refused(algorithm):
    with pytest.raises(jaxem.MissingCapabilityError, match="derivative of an iteration"):
        jax.eval_shape(
            lambda x: rate_matrix(jaxem.Mixture(jaxem.Poisson(), 2), MLE, x, algorithm=algorithm), times()[0]
        )


@pytest.fixture(scope="module")
def anova():
    return example("anova")


def least_squares(anova, lost):
    """Fitted cells, residual sum of squares and hat matrix of the plots that are there."""
    plots = anova.data(lost)
    b, t = np.shape(anova.YIELDS)
    block, treatment = np.asarray(plots.block), np.asarray(plots.treatment)
    design = np.concatenate([block[:, None] == np.arange(b), treatment[:, None] == np.arange(1, t)], 1).astype(float)
    y = np.asarray(plots.y)
    there = ~np.isnan(y)
    effects = np.linalg.lstsq(design[there], y[there], rcond=None)[0]
    hat = design @ np.linalg.pinv(design)
    return (design @ effects).reshape(b, t), np.sum((y - design @ effects)[there] ** 2), hat[np.ix_(~there, ~there)]


@pytest.mark.parametrize("lost", [1, 3])
def test_lost_plots_are_fitted_by_least_squares(anova, lost):
    """Healy and Westmacott (1956); with one lost plot, Yates (1933)."""
    cells = anova.LOST[:lost]
    plots, model = anova.data(cells), anova.RandomisedBlocks()
    fit = engine.solve(model, model.init(None, plots, None), plots, tol=1e-16)
    mean, residual, hat = least_squares(anova, cells)
    np.testing.assert_allclose(fit.params.mean, mean, rtol=1e-7)
    np.testing.assert_allclose(fit.params.variance, residual / (20 - lost), rtol=1e-6)
    np.testing.assert_allclose(anova.residual_mean_square(fit.params, cells), residual / (12 - lost), rtol=1e-6)
    if lost == 1:
        np.testing.assert_allclose(fit.params.mean[cells[0]], anova.yates(np.array(anova.YIELDS), cells[0]), rtol=1e-7)
    # The means converge by the hat matrix of the complete table between lost plots, the variance by their share.
    eigenvalues = rate_eigenvalues(model, fit.params, plots)
    expected = np.sort([*np.linalg.eigvalsh(hat), lost / 20, *np.zeros(8 - lost)])[::-1]
    np.testing.assert_allclose(eigenvalues, expected, atol=1e-6)


def test_without_lost_plots_the_analysis_is_the_published_one(anova):
    """Box, Hunter and Hunter (1978): residual sum of squares 226 on 12 degrees of freedom."""
    _, residual, _ = least_squares(anova, ())
    np.testing.assert_allclose(residual, 226, rtol=1e-12)
