import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxem
from jaxem.testing import check_model
from tests.helpers import engine

X = jnp.asarray(np.random.default_rng(33).laplace(np.array([-3.0, 3.0])[np.arange(60) % 2], 0.8)[:, None])


def laplace(params, row):
    return -jnp.abs(row[0] - params["centre"]) / params["scale"] - jnp.log(2 * params["scale"])


def about(key, point, rows, weights):
    mean = jnp.average(rows[:, 0], weights=weights)
    return {"centre": point[0], "scale": jnp.sqrt(jnp.average((rows[:, 0] - mean) ** 2, weights=weights))}


def draw(key, params):
    return params["centre"][None] + params["scale"] * jax.random.laplace(key, (1,), params["scale"].dtype)


FAMILY = jaxem.families.FunctionFamily(laplace, about, constraints={"scale": "positive"}, draw=draw)
START = jaxem.models.MixtureParams(
    jnp.array([0.4, 0.6]), {"centre": jnp.array([-2.0, 2.0]), "scale": jnp.array([1.0, 1.5])}
)


def cell():
    """For the table of every algorithm with every model: logistic laws, which unlike Laplace's are smooth."""

    def logistic(params, row):
        z = (row[0] - params["centre"]) / params["scale"]
        return -z - 2 * jax.nn.softplus(-z) - jnp.log(params["scale"])

    family = jaxem.families.FunctionFamily(logistic, about, constraints={"scale": "positive"})
    return jaxem.Mixture(family, 2), START, X, jnp.ones(60)


def test_log_prob():
    joint = [np.log(w) + stats.laplace.logpdf(X[:, 0], c, s) for w, c, s in ((0.4, -2.0, 1.0), (0.6, 2.0, 1.5))]
    np.testing.assert_allclose(jaxem.Mixture(FAMILY, 2).log_prob(START, X), np.logaddexp(*joint), rtol=1e-12)


def test_constraints_and_starts():
    points = X[:2]
    params = FAMILY.from_points(points, X, jnp.ones(60))
    np.testing.assert_allclose(params["centre"], points[:, 0])
    engine.assert_same(FAMILY.constrain(FAMILY.unconstrain(params)), params)
    assert (np.asarray(FAMILY.constrain(jax.tree.map(lambda a: a - 50, params))["scale"]) > 0).all()


def test_one_set_of_starting_parameters_is_perturbed():
    family = jaxem.families.FunctionFamily(laplace, {"centre": 0.0, "scale": 1.0}, constraints={"scale": "positive"})
    first, second = (
        family.kernel().for_starts(jax.random.key(i)).from_points(X[:3], X, jnp.ones(60))["centre"] for i in range(2)
    )
    assert len(set(np.concatenate([first, second]).tolist())) == 6


def test_shared_parameters_have_no_axis_of_members():
    family = jaxem.families.FunctionFamily(
        laplace, about, constraints={"scale": "positive"}, shared=("scale",), draw=draw
    )
    params = family.from_points(X[:2], X, jnp.ones(60))
    assert params["scale"].shape == ()
    own = family.potentials(params, X)
    np.testing.assert_allclose(own[1], stats.laplace.logpdf(X[:, 0], X[1, 0], float(jnp.std(X))), rtol=1e-9)
    assert family.sample(jax.random.key(0), params, jnp.array([0, 1, 1])).shape == (3, 1)


def test_refusals():
    with pytest.raises(jaxem.DataError, match="row 1 has a value that is not finite"):
        FAMILY.check(np.array([[0.0], [np.nan]]))
    with pytest.raises(jaxem.MissingCapabilityError, match="draw"):
        jaxem.families.FunctionFamily(laplace, about).sample(jax.random.key(0), START.components, jnp.zeros(1, int))
    with pytest.raises(ValueError, match="none of real"):
        jaxem.families.FunctionFamily(laplace, about, constraints={"scale": "large"})
    with pytest.raises(ValueError, match=r"frozen: unknown parameter 'components\.width'"):
        jaxem.Mixture(FAMILY, 2, frozen=("components.width",))


def test_a_network_is_what_its_module_says():
    def make(key):
        return eqx.nn.MLP("scalar", "scalar", 3, 1, activation=jnp.tanh, key=key)

    family = jaxem.families.NeuralFamily(make, lambda network, row: -((row[1] - network(row[0])) ** 2) / 2)
    key = jax.random.key(4)
    rows = jnp.stack([jnp.linspace(-1.0, 1.0, 5), jnp.arange(5.0)], 1)
    params = family.kernel().for_starts(key).from_points(rows[:2], rows, jnp.ones(5))
    network = make(jax.random.split(key)[1])
    expected = jax.vmap(lambda row: -((row[1] - network(row[0])) ** 2) / 2)(rows)
    np.testing.assert_allclose(family.potentials(params, rows)[1], expected, rtol=1e-9)


@pytest.mark.slow
def test_contract_and_draws():
    check_model(jaxem.Mixture(FAMILY, 2), START, X[:30])


@pytest.mark.slow
def test_fit_of_a_mixture():
    fit = jaxem.fit(
        jaxem.Mixture(FAMILY, 2), X, key=jax.random.key(0), restarts=4, algorithm=jaxem.gem(optax.adam(0.05)), tol=1e-8
    )
    np.testing.assert_allclose(np.sort(fit.params.components["centre"]), [-3.0, 3.0], atol=0.5)
