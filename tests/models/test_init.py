"""`model.init(key, data)` of every model: without weights, of whole numbers, of what is not an array yet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem

RNG = np.random.default_rng(1)
TABLE = RNG.integers(0, 9, (24, 2))
BAGS = jaxem.Documents(RNG.integers(0, 5, (12, 3)).astype(np.int32), RNG.integers(1, 4, (12, 3)))
MODELS = {
    "Mixture": (jaxem.GaussianMixture(2), TABLE),
    "labelled": (jaxem.GaussianMixture(2), jaxem.Labelled(TABLE, np.arange(24) % 3 - 1)),
    "Poisson": (jaxem.Mixture(jaxem.Poisson(), 2), TABLE),
    "Single": (jaxem.models.MultivariateNormal(), TABLE),
    "HMM": (jaxem.HMM(jaxem.Gaussian(), 2), TABLE.reshape(2, 12, 2)),
    "Sequences": (jaxem.HMM(jaxem.Poisson(), 2), jaxem.Sequences(TABLE.reshape(2, 12, 2), np.array([12, 7]))),
    "MixtureOfExperts": (jaxem.MixtureOfExperts(jaxem.LinearRegression(), 2), jaxem.Responses(TABLE, TABLE[:, 0])),
    "LinearGaussianStateSpace": (jaxem.LinearGaussianStateSpace(1), TABLE.reshape(2, 12, 2)),
    "LDA": (jaxem.LDA(2, 5), BAGS),
    "FactorAnalysis": (jaxem.FactorAnalysis(1), TABLE),
    "Product": (
        jaxem.Mixture(jaxem.Product({"a": jaxem.Gaussian(), "b": jaxem.Poisson()}), 2),
        {"a": TABLE, "b": TABLE},
    ),
    "FunctionModel": (
        jaxem.FunctionModel(
            lambda params, x, z: -((x[0] - params["m"][z]) ** 2),
            2,
            lambda key, data, weights: {"m": jnp.sum(weights[:, None] * data, 0) / jnp.sum(weights)},
        ),
        TABLE,
    ),
    "Variational": (
        jaxem.models.Variational(
            jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(1.5, 0.5)), 2, weights_prior=jaxem.priors.Dirichlet(1.5))
        ),
        TABLE,
    ),
}


def floats(tree):
    """As `fit` converts them."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), tree)


SLOW = {"LinearGaussianStateSpace", "FactorAnalysis"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in MODELS])
def test_without_weights_and_of_whole_numbers(name):
    model, data = MODELS[name]
    key = jax.random.key(3)
    converted = floats(data)
    if name == "LDA":
        converted = converted._replace(words=jnp.asarray(data.words))
    if name == "labelled":
        converted = converted._replace(labels=jnp.asarray(data.labels))
    if name == "Sequences":
        converted = converted._replace(lengths=jnp.asarray(data.lengths))
    n = len(jax.tree.leaves(data)[0])
    given = jax.jit(lambda data, weights: model.init(key, data, weights))(converted, jnp.ones(n))
    found = model.init(key, data)
    leaves = jax.tree.leaves(found)
    assert all(leaf.dtype == jnp.result_type(float) for leaf in leaves)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), given, found)
    # Under a trace too, and with weights that are whole numbers.
    traced = jax.jit(lambda data: model.init(key, data, np.ones(n, int)))(data)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), given, traced)


def test_weights_have_the_precision_of_the_data():
    x = jnp.asarray(TABLE, jnp.float32)
    params = jaxem.GaussianMixture(2).init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_lists():
    model = jaxem.GaussianMixture(2)
    a, b = model.init(jax.random.key(0), TABLE.tolist()), model.init(jax.random.key(0), TABLE)
    jax.tree.map(np.testing.assert_array_equal, a, b)
