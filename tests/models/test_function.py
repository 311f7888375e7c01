"""Rung 0: ten lines of a user's file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln
from jax.scipy.stats import norm
from scipy import optimize

import jaxem
from jaxem._algorithm import default_algorithm
from tests.helpers import engine
from tests.helpers.engine import name, solve


@pytest.fixture(scope="module")
def pair():
    return engine.case("function"), engine.case("poisson")


def test_enumeration_gives_what_the_linear_map_gives(pair):
    function, closed = pair
    mine, data = function.model, function.x
    np.testing.assert_allclose(
        mine.log_prob(function.start, data), closed.model.log_prob(function.start, data), rtol=1e-10
    )
    moments, _ = mine.expectation(function.start, data)
    np.testing.assert_allclose(moments.T, closed.model.posterior(function.start, data), rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(
        mine.log_likelihood(function.start, data), closed.model.log_likelihood(function.start, data), rtol=1e-12
    )
    assert mine.num_parameters(function.start) == closed.model.num_parameters(function.start) == 8


def test_single_precision_stays_single(pair):
    function, _ = pair
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)  # noqa: E731
    start, x = single(function.start), single(function.x)
    assert function.model.log_prob(start, x).dtype == jnp.float32
    fit = solve(function.model, start, x, algorithm=jaxem.em_gradient(), tol=1e-6)
    assert name(fit) == "converged"
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((fit.params, fit.objective, fit.history)))
    best = solve(function.model, function.start, function.x, algorithm=jaxem.em_gradient()).objective
    np.testing.assert_allclose(fit.objective, best, rtol=1e-4)


# A model nobody shipped: visits of people some of whom never come, with a rate that depends on a covariate and priors.


def log_joint(params, row, z):
    visits, age = row["visits"], row["age"]
    log_rate = params["base"] + params["slope"] * age
    comes = -jax.nn.softplus(params["never"])
    poisson = comes + visits * log_rate - jnp.exp(log_rate) - gammaln(visits + 1)
    never = jnp.where(visits == 0, -jax.nn.softplus(-params["never"]), -jnp.inf)
    return jnp.where(z == 1, poisson, never)


def log_prior(params):
    return -(params["slope"] ** 2) / 2


START = {name: jnp.zeros(()) for name in ("base", "never", "slope")}
MODEL = jaxem.FunctionModel(log_joint, num_values=2, start=START, prior=log_prior)


@pytest.fixture(scope="module")
def visits():
    rng = np.random.default_rng(0)
    age = rng.standard_normal(200)
    visits = rng.poisson(np.exp(0.7 + 0.5 * age)) * (rng.random(200) > 0.3)
    return {"visits": jnp.asarray(visits.astype(float)), "age": jnp.asarray(age)}


def test_a_users_model_reaches_the_maximum_of_its_likelihood(visits):
    y, age = (np.asarray(visits[name]) for name in ("visits", "age"))

    def loss(v):
        base, never, slope = v
        rate, share = np.exp(base + slope * age), 1 / (1 + np.exp(-never))
        density = (1 - share) * np.exp(y * np.log(rate) - rate) + share * (y == 0)
        return -np.log(density).sum() + np.asarray(gammaln(y + 1)).sum() + slope**2 / 2

    found = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-6})
    fit = solve(MODEL, START, visits, algorithm=jaxem.em_gradient(), tol=1e-12)
    assert name(fit) == "converged"
    np.testing.assert_allclose(fit.objective, -found.fun, rtol=1e-8)
    np.testing.assert_allclose([fit.params[k] for k in ("base", "never", "slope")], found.x, atol=1e-4)
    np.testing.assert_allclose(fit.objective - fit.log_likelihood, log_prior(fit.params), rtol=1e-9)
    chunked = solve(MODEL, START, visits, algorithm=jaxem.em_gradient(), tol=1e-12, chunk_rows=64)
    engine.assert_same(chunked.params, fit.params, rtol=1e-7)


def test_impossible_latents_have_no_weight(visits):
    moments, _ = MODEL.expectation(START, visits)
    came = np.asarray(visits["visits"]) > 0
    np.testing.assert_array_equal(moments[0][came], 0.0)
    assert np.all(np.asarray(moments[0])[~came] > 0)


def test_a_start_may_be_drawn():
    drawn = jaxem.FunctionModel(log_joint, 2, start=lambda key, data, weights: {"base": jax.random.normal(key)})
    a, b = (drawn.init(jax.random.key(seed), None, None)["base"] for seed in (0, 1))
    assert a != b
    assert MODEL.init(jax.random.key(0), None, None) is START


# Constraints, values and frozen parameters


def everything(params, row, z):
    spread = jnp.sum(params["spread"]["matrix"]) + params["spread"]["scale"]
    return jnp.log(params["weights"][z]) - spread * (row - params["unit"] - params["free"]) ** 2


CONSTRAINTS = {"weights": "simplex", "spread": {"matrix": "definite", "scale": "positive"}, "unit": "unit"}
CONSTRAINED = {
    "weights": jnp.array([0.2, 0.3, 0.5]),
    "spread": {"matrix": jnp.array([[2.0, 0.3], [0.3, 1.0]]), "scale": jnp.array([0.5, 3.0])},
    "unit": jnp.array(0.7),
    "free": jnp.array(-1.0),
}


@pytest.mark.parametrize(
    "constraints",
    [CONSTRAINTS, {"weights": "simplex", "spread": "positive", "spread.matrix": "definite", "unit": "unit"}],
    ids=["tree", "names"],
)
def test_constraints_are_named_bijections(constraints):
    model = jaxem.FunctionModel(everything, 3, constraints=constraints)
    free = model.unconstrain(CONSTRAINED)
    assert free["weights"].shape == (2,)
    assert free["spread"]["matrix"].shape == (3,)
    np.testing.assert_allclose(free["spread"]["scale"], np.log([0.5, 3.0]))
    np.testing.assert_allclose(free["unit"], np.log(0.7 / 0.3))
    assert free["free"] == -1.0
    engine.assert_same(model.constrain(free), CONSTRAINED, rtol=1e-12)
    assert model.num_parameters(CONSTRAINED) == 2 + 3 + 2 + 1 + 1
    assert dataclasses.replace(model, frozen=("spread.matrix", "weights")).num_parameters(CONSTRAINED) == 4
    one = jaxem.FunctionModel(everything, 3, constraints="positive")
    np.testing.assert_allclose(one.unconstrain(jnp.array([2.0])), np.log([2.0]))


def test_values_of_the_latent_may_be_anything():
    """Pairs of a number and a vector, against integers that index them."""
    numbers, vectors = jnp.array([0.5, 2.0, 3.0]), jnp.arange(6.0).reshape(3, 2)

    def density(params, x, number, vector):
        return -((x - number * params) ** 2) + jnp.sum(vector) * params

    by_value = jaxem.FunctionModel(lambda p, x, z: density(p, x, z["a"], z["b"]), values={"a": numbers, "b": vectors})
    by_index = jaxem.FunctionModel(lambda p, x, z: density(p, x, numbers[z], vectors[z]), 3)
    params, x = jnp.array(0.7), jnp.linspace(-1.0, 2.0, 5)
    np.testing.assert_allclose(by_value.log_prob(params, x), by_index.log_prob(params, x), rtol=1e-12)
    posterior = by_value.posterior(params, x)
    assert posterior.shape == (5, 3)
    np.testing.assert_allclose(posterior.sum(1), 1.0)


def test_frozen_parameters_stay(visits):
    start = START | {"slope": jnp.array(0.3)}
    model = jaxem.FunctionModel(log_joint, 2, start, prior=log_prior, frozen=("slope",))
    fit = solve(model, start, visits, algorithm=jaxem.em_gradient())
    assert fit.params["slope"] == 0.3
    assert fit.params["base"] != 0.0


def test_what_cannot_be_is_refused():
    identity = lambda x: x  # noqa: E731
    for options, words in (
        ({}, "one of num_values, values and continuous"),
        ({"num_values": 2, "values": jnp.arange(2)}, "one of num_values, values and continuous"),
        ({"num_values": 2, "constraints": {"rate": "positve"}}, "constraints: rate: 'positve' is none of real, pos"),
        ({"num_values": 2, "to_constrained": identity}, "come together"),
        (
            {"num_values": 2, "to_constrained": identity, "to_unconstrained": identity, "constraints": "real"},
            "either constraints or",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            jaxem.FunctionModel(log_joint, **options)
    with pytest.raises(ValueError, match="constraints: unknown parameter 'rate'; choose from base, never, slope"):
        jaxem.FunctionModel(log_joint, 2, constraints={"rate": "positive"}).unconstrain(START)
    with pytest.raises(ValueError, match="frozen: unknown parameter 'bse'; choose from base"):
        jaxem.FunctionModel(log_joint, 2, frozen=("bse",)).trainable(START)


def _group(params, row, z):
    """Observations of one group about its own level: analysis of variance with random effects."""
    level = norm.logpdf(z, 0.0, params["between"])
    return level + jnp.sum(norm.logpdf(row, params["mean"] + z, params["within"]))


def cell():
    """A latent with a density, for the product of rules and models: model, start, data, weights."""
    rng = np.random.default_rng(3)
    x = jnp.asarray(1.5 + 0.9 * rng.standard_normal((30, 1)) + 0.7 * rng.standard_normal((30, 3)))
    start = {"mean": jnp.array(1.4), "between": jnp.array(1.0), "within": jnp.array(1.0)}
    model = jaxem.FunctionModel(
        _group,
        continuous=jaxem.latent.Continuous(transitions=3),
        start=start,
        constraints={"between": "positive", "within": "positive"},
    )
    return model, start, x, jnp.ones(len(x))


@pytest.mark.slow
def test_monte_carlo_em_of_a_continuous_latent_finds_the_maximum():
    model, start, x, _ = cell()
    assert isinstance(default_algorithm(model).e_step, jaxem.e_step.MonteCarlo)
    algorithm = jaxem.Algorithm(
        e_step=jaxem.e_step.Sample(30), m_step=jaxem.m_step.Newton(), record=jaxem.record.Average(0.5)
    )
    fit = solve(model, start, x, algorithm=algorithm, max_steps=40, key=jax.random.key(1))
    assert name(fit) == "completed"
    # Balanced groups have a closed form (Searle, Casella and McCulloch 1992, section 4.4).
    n, m = x.shape
    within = float(((x - x.mean(1, keepdims=True)) ** 2).sum() / (n * (m - 1)))
    between = float(((x.mean(1) - x.mean()) ** 2).sum() / n) - within / m
    # A quarter of a standard error of the estimates.
    np.testing.assert_allclose(fit.params["mean"], x.mean(), atol=0.05)
    np.testing.assert_allclose(fit.params["between"], np.sqrt(between), atol=0.04)
    np.testing.assert_allclose(fit.params["within"], np.sqrt(within), atol=0.02)
    exact = jax.jit(jax.vmap(lambda row: _marginal(fit.params, row)))(x).sum()
    np.testing.assert_allclose(fit.log_likelihood, exact, atol=0.1)


def _marginal(params, row):
    covariance = params["between"] ** 2 * jnp.ones((3, 3)) + params["within"] ** 2 * jnp.eye(3)
    return jax.scipy.stats.multivariate_normal.logpdf(row, jnp.broadcast_to(params["mean"], 3), covariance)


def test_what_a_continuous_latent_cannot_do_is_refused():
    model, start, x, _ = cell()
    with pytest.raises(jaxem.MissingCapabilityError, match=r"needs the expectation .* use jaxem.e_step.Sample"):
        jaxem.solve(model, start, x, algorithm=jaxem.em_gradient())
    with pytest.raises(ValueError, match="one of num_values, values and continuous"):
        jaxem.FunctionModel(_group, 2, continuous=jaxem.latent.Continuous())
    with pytest.raises(jaxem.MissingCapabilityError, match="for a continuous latent"):
        jaxem.FunctionModel(_group, 2, start).posterior_draws(jax.random.key(0), start, x)
