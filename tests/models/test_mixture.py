"""What is asked of a mixture besides fitting it, against enumeration."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.init import Points
from tests.helpers import engine, oracles, problems

FREE = {"full": 3 - 1 + 3 * (2 + 3), "diagonal": 2 + 3 * 4, "spherical": 2 + 3 * 3, "tied": 2 + 6 + 3, "poisson": 2 + 6}


@pytest.mark.parametrize("model", engine.LINEAR)
def test_densities_and_posteriors_are_enumeration(model):
    case = engine.case(model)
    x, family, start = np.asarray(case.x), case.oracle.family, case.oracle.start
    np.testing.assert_allclose(case.model.log_prob(case.start, case.x), oracles.log_prob(family, start, x), rtol=1e-10)
    posterior = case.model.posterior(case.start, case.x)
    np.testing.assert_allclose(posterior, oracles.posterior(family, start, x), rtol=1e-8, atol=1e-14)
    np.testing.assert_array_equal(case.model.predict(case.start, case.x), np.asarray(posterior).argmax(1))
    w = np.random.default_rng(0).random(len(x))
    np.testing.assert_allclose(
        case.model.log_likelihood(case.start, case.x, w), oracles.log_likelihood(family, start, x, w), rtol=1e-12
    )


class OwnPotentials(jaxem.Bernoulli):  # pyright: ignore[reportGeneralTypeIssues]
    """Coefficients and statistics, and potentials that know of natural parameters only."""

    def potentials(self, natural, x):
        return self.coefficients(natural) @ self.statistics(x)


def test_a_family_may_have_potentials_of_its_own():
    x = jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    params = jaxem.models.MixtureParams(
        jnp.array([0.3, 0.7]), jaxem.families.BernoulliParams(jnp.array([[0.2, 0.9], [0.6, 0.5]]))
    )
    found, expected = (jaxem.Mixture(family, 2).log_prob(params, x) for family in (OwnPotentials(), jaxem.Bernoulli()))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_numpy_arrays_will_do():
    case = engine.case("poisson")
    a = case.model.log_likelihood(jax.tree.map(np.asarray, case.start), np.asarray(case.x))
    np.testing.assert_allclose(a, case.model.log_likelihood(case.start, case.x), rtol=1e-12)


def test_the_likelihood_of_many_rows_is_summed_in_chunks():
    case = engine.case("poisson")
    many = jnp.tile(case.x, (25, 1))[:9999]
    expected = case.model.log_prob(case.start, many).sum()
    np.testing.assert_allclose(case.model.log_likelihood(case.start, many), expected, rtol=1e-12)


def test_rows_of_weight_zero_do_not_count_but_have_a_derivative():
    case = engine.case("poisson")
    x = case.x.at[0, 0].set(-1.0)
    w = case.weights.at[0].set(0.0).at[1].set(0.0)
    value, slope = jax.value_and_grad(lambda w: case.model.log_likelihood(case.start, x, w))(w)
    each = jax.jit(case.model.log_prob)(case.start, x)  # with known values such a row is refused
    assert each[0] == -np.inf
    np.testing.assert_allclose(value, each[2:].sum(), rtol=1e-12)
    np.testing.assert_allclose(slope[1:], each[1:], rtol=1e-12)
    assert slope[0] == 0.0


@pytest.mark.parametrize("model", engine.LINEAR)
def test_free_parameters_are_counted(model):
    case = engine.case(model)
    assert case.model.num_parameters(case.start) == FREE[model]
    fixed = jaxem.Mixture(case.model.family, 3, frozen=("weights",))
    assert fixed.num_parameters(case.start) == FREE[model] - 2
    assert jaxem.Mixture(case.model.family, 3, frozen=("components",)).num_parameters(case.start) == 2


@pytest.mark.parametrize("model", ["full", "tied", "poisson"])
def test_coordinates_and_blocks_go_there_and_back(model):
    case = engine.case(model)
    free = case.model.unconstrain(case.start)
    engine.assert_same(case.model.constrain(free), case.start, rtol=1e-12, atol=1e-13)
    blocks, undo = case.model.bound().blocks(free)
    engine.assert_same(undo(blocks), free, rtol=0, atol=0)
    sizes = {"full": [(1, 2), (3, 5)], "tied": [(1, 2), (1, 9)], "poisson": [(1, 2), (3, 2)]}
    assert [block.shape for block in blocks] == sizes[model]
    frozen = jaxem.Mixture(case.model.family, 3, frozen=("components",)).trainable(free)
    assert frozen.weights is True
    assert not any(jax.tree.leaves(frozen.components))


def test_blocks_are_components():
    """Each row of the second block holds what belongs to one component."""
    case = engine.case("full")
    marked = jaxem.models.MixtureParams(
        jnp.zeros(2),
        jaxem.families.GaussianParams(
            jnp.ones((3, 2)) * jnp.arange(3.0)[:, None], jnp.arange(3.0)[:, None] + jnp.zeros((3, 3))
        ),
    )
    (_, components), _ = case.model.bound().blocks(marked)
    np.testing.assert_array_equal(components, np.arange(3.0)[:, None] + np.zeros((3, 5)))


@lru_cache
def drawn():
    case = engine.case("full")
    return case, case.model.sample(jax.random.key(1), case.start, 20_000)


def test_samples_have_the_moments_of_the_mixture():
    case, (x, z) = drawn()
    x, z = np.asarray(x), np.asarray(z)
    assert x.shape == (20_000, 2)
    assert set(z) == {0, 1, 2}
    weights, (mean, covariance) = np.asarray(case.start.weights), case.oracle.start.components
    np.testing.assert_allclose(np.bincount(z) / len(z), weights, atol=5 * 0.5 / np.sqrt(len(z)))
    for j in range(3):
        mine = x[z == j]
        error = np.sqrt(np.diagonal(covariance[j]) / len(mine))
        assert np.all(np.abs(mine.mean(0) - mean[j]) < 5 * error)
        spread = np.sqrt(np.outer(np.diagonal(covariance[j]), np.diagonal(covariance[j])) / len(mine))
        assert np.all(np.abs(np.cov(mine.T) - covariance[j]) < 8 * spread)


def test_samples_depend_on_the_key_alone():
    case, (x, z) = drawn()
    again, other = (case.model.sample(jax.random.key(key), case.start, 20_000) for key in (1, 2))
    engine.assert_same(again, (x, z), rtol=0, atol=0)
    assert np.abs(other[0] - x).max() > 0.1


def test_what_cannot_be_is_refused():
    for k in (0, -1, 2.0, "3"):
        with pytest.raises(ValueError, match="num_components must be a positive integer"):
            jaxem.GaussianMixture(k)
    with pytest.raises(
        ValueError, match=r"frozen: unknown parameter 'means'; choose from weights, components, components.mean"
    ):
        jaxem.GaussianMixture(2, frozen=("means",))


def test_rows_and_labels_are_checked():
    model = jaxem.GaussianMixture(3)
    x = problems.overlapping_gaussians().x
    ok = np.zeros(len(x), int)
    model.check(jaxem.Labelled(x, ok), None)
    for labels, words in (
        (ok[:-1], "labels must be 300 integers"),
        (ok.astype(float), "labels must be 300 integers .* got float64"),
        (np.where(np.arange(300) == 7, 3, 0), "row 7 has label 3; labels run from 0 to 2"),
        (np.where(np.arange(300) == 9, -2, 0), "row 9 has label -2"),
    ):
        with pytest.raises(jaxem.DataError, match=words):
            model.check(jaxem.Labelled(x, labels), None)
    with pytest.raises(jaxem.DataError, match="2 rows with positive weight, fewer than num_components=3"):
        model.check(x, np.where(np.arange(300) < 2, 1.0, 0.0))


def test_a_model_is_a_value():
    assert jaxem.GaussianMixture(2) == jaxem.GaussianMixture(2)
    assert jaxem.GaussianMixture(2) != jaxem.GaussianMixture(2, start=Points())
    assert len({jaxem.GaussianMixture(2), jaxem.GaussianMixture(2), jaxem.GaussianMixture(3)}) == 2
