"""Classification of observations against sums over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem import goodness


def mixture(dtype=float):
    components = jaxem.families.GaussianParams(
        jnp.array([[-1.0], [0.5], [2.0]], dtype), jnp.array([[[1.0]], [[0.5]], [[2.0]]], dtype)
    )
    params = jaxem.models.MixtureParams(jnp.array([0.2, 0.5, 0.3], dtype), components)
    x = np.random.default_rng(0).normal(size=(200, 1)).astype(dtype) * 2
    return jaxem.GaussianMixture(3), params, x


def test_the_table_is_that_of_latent_and_most_probable_members():
    model, params, x = mixture()
    weights = np.random.default_rng(1).integers(0, 3, len(x)).astype(float)
    found = goodness.classification(model, params, x, weights)
    posterior = np.asarray(model.posterior(params, x))
    modal = posterior.argmax(1)
    for t in range(3):
        for m in range(3):
            assert found.table[t, m] == pytest.approx(np.sum(weights * posterior[:, t] * (modal == m)))
            mean = np.average(posterior[modal == t, m], weights=weights[modal == t])
            assert found.average_posterior[t, m] == pytest.approx(mean)
    total = weights.sum()
    assert found.error == pytest.approx(1 - np.trace(found.table) / total)
    assert found.error == goodness.classification_error(model, params, x, weights)
    np.testing.assert_allclose(found.sizes, weights @ posterior)
    assert found.lambda_ == pytest.approx(1 - found.error / (1 - found.sizes.max() / total))


def test_entropies_are_sums_over_observations():
    model, params, x = mixture()
    posterior = np.asarray(model.posterior(params, x))
    entropy = -np.sum(posterior * np.log(posterior), 1).mean()
    mean = posterior.mean(0)
    assert goodness.entropy_r2(model, params, x) == pytest.approx(1 - entropy / np.log(3))
    marginal = goodness.entropy_r2(model, params, x, baseline="marginal")
    assert marginal == pytest.approx(1 - entropy / -np.sum(mean * np.log(mean)))
    found = goodness.classification(model, params, x)
    assert (found.entropy_r2, found.marginal_entropy_r2) == (goodness.entropy_r2(model, params, x), marginal)
    # The entropy of `icl` is the same.
    total = (jaxem.icl(model, params, x) - jaxem.bic(model, params, x)) / 2
    assert len(x) * entropy == pytest.approx(float(total))


def test_single_precision_agrees():
    found, wanted = (goodness.classification(*mixture(dtype)) for dtype in ("float32", "float64"))
    np.testing.assert_allclose(found.table, wanted.table, rtol=1e-3, atol=1e-3)
    assert found.error == pytest.approx(wanted.error, rel=1e-3)


def test_what_is_certain_and_what_is_not():
    one = jaxem.families.BernoulliParams(jnp.array([[1.0], [0.0]]))
    sure = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), one)
    model, x = jaxem.Mixture(jaxem.Bernoulli(), 2), np.array([[0.0], [1.0], [1.0]])
    found = goodness.classification(model, sure, x)
    assert (found.error, found.entropy_r2, found.lambda_) == (0, 1, 1)
    none = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), jaxem.families.BernoulliParams(jnp.full((2, 1), 0.5)))
    found = goodness.classification(model, none, x)
    assert found.error == pytest.approx(0.5)
    assert found.entropy_r2 == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.average_posterior[1]).all()  # ties go to the first


def test_one_member_and_one_row():
    model = jaxem.GaussianMixture(1)
    params = jaxem.models.MixtureParams(
        jnp.ones(1), jaxem.families.GaussianParams(jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
    )
    found = goodness.classification(model, params, np.zeros((1, 1)))
    assert (found.error, found.table.tolist()) == (0, [[1.0]])
    assert np.isnan([found.entropy_r2, found.marginal_entropy_r2, found.lambda_]).all()


def test_an_empty_member_has_no_share():
    model, params, x = mixture()
    empty = params._replace(weights=jnp.array([0.4, 0.6, 0.0]))
    found = goodness.classification(model, empty, x)
    assert (found.table[2] == 0).all()
    assert (found.table[:, 2] == 0).all()
    assert np.isfinite(found.entropy_r2)


def test_of_sequences_every_observed_step_counts():
    params = jaxem.models.HMMParams(
        jnp.array([0.4, 0.6]),
        jnp.array([[0.9, 0.1], [0.3, 0.7]]),
        jaxem.families.PoissonParams(jnp.array([[2.0], [5.0]])),
    )
    model = jaxem.HMM(jaxem.Poisson(), 2)
    values = np.random.default_rng(0).poisson(3, (2, 5, 1)).astype(float)
    observed = np.array([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0]], bool)
    data = jaxem.Sequences(values, np.array([5, 3]), observed)
    found = goodness.classification(model, params, data, np.array([2.0, 1.0]))
    posterior = np.asarray(model.posterior(params, data))
    seen = [(0, 0), (0, 1), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2)]
    sizes = sum((2.0, 1.0)[i] * posterior[i, t] for i, t in seen)
    np.testing.assert_allclose(found.sizes, sizes)
    assert found.table.sum() == pytest.approx(11)


def test_a_latent_that_is_enumerated_has_classes():
    def log_joint(params, x, z):
        return jnp.log(0.5) + jax.scipy.stats.norm.logpdf(x, params[z])

    model = jaxem.FunctionModel(log_joint, num_values=2, start=jnp.array([-1.0, 1.0]))
    x = np.array([-2.0, 0.1, 3.0])
    p = 1 / (1 + np.exp(-2 * np.abs(x)))
    assert goodness.classification_error(model, model.start, x) == pytest.approx(np.mean(1 - p))


def test_what_has_no_classes_is_refused():
    space = jaxem.LDA(2, 5)
    with pytest.raises(jaxem.MissingCapabilityError, match="LDA has no posterior probabilities of members"):
        goodness.classification(space, None, None)
    model, params, x = mixture()
    with pytest.raises(jaxem.DataError, match="baseline must be one of 'uniform', 'marginal'"):
        goodness.entropy_r2(model, params, x, baseline="other")
    with pytest.raises(jaxem.DataError, match="looks at values on the host"):
        jax.jit(lambda params: goodness.classification_error(model, params, x))(params)
