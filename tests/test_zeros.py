"""Parameters that are exactly 0 (or 1): what they exclude has no density, no responsibility, and stays excluded."""

import itertools
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import logsumexp

import jaxem

N = 24
ALGORITHMS = {
    "em": jaxem.em(),
    "squarem": jaxem.squarem(),
    "anderson": jaxem.anderson(),
    "parabolic_em": jaxem.algorithms.parabolic_em(),
    "quasi_newton_em": jaxem.algorithms.quasi_newton_em(),
    "hard_em": jaxem.hard_em(),
    "alpha_em": jaxem.alpha_em(),
    "annealed_em": jaxem.annealed_em(),
    "em_gradient": jaxem.em_gradient(),
    "conjugate_gradient_em": jaxem.algorithms.conjugate_gradient_em(),
    "stochastic_em": jaxem.stochastic_em(),
    "incremental_em": jaxem.incremental_em(4),
}


class Cell(NamedTuple):
    model: Any
    params: Any
    x: Any
    joint: Any  # log density of each observation and the value of its latent, [n, m]
    state: Any = None  # indicators of what each latent value is, [m, ...] as `posterior` has it


def log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def mixture(family, weights, components, x, each):
    """Components are `k` members whose log densities are `each(j)`, `[n]`."""
    k = len(weights)
    joint = np.stack([log(weights[j]) + each(j) for j in range(k)], 1)
    model = jaxem.Mixture(family, k)
    return Cell(model, jaxem.models.MixtureParams(np.array(weights), components), x, joint, np.eye(k))


@lru_cache
def cells():
    rng = np.random.default_rng(0)
    found = {}
    weights = [0.4, 0.0, 0.35, 0.25]

    mean, variance = rng.normal(size=(4, 2)), np.exp(rng.normal(size=(4, 2)))
    x = rng.normal(size=(N, 2))
    found["gaussian"] = mixture(
        jaxem.Gaussian("diagonal"),
        weights,
        jaxem.families.GaussianParams(mean, variance),
        x,
        lambda j: stats.norm.logpdf(x, mean[j], np.sqrt(variance[j])).sum(1),
    )

    p = np.array([[0.0, 1.0, 0.3], [0.5, 0.5, 0.5], [0.2, 0.6, 0.0], [1.0, 0.7, 0.6]])
    bits = (rng.random((N, 3)) < 0.5).astype(float)
    found["bernoulli"] = mixture(
        jaxem.Bernoulli(),
        weights,
        jaxem.families.BernoulliParams(p),
        bits,
        lambda j: np.where(bits == 1, log(p[j]), log(1 - p[j])).sum(1),
    )

    q = rng.dirichlet(np.ones(3), (4, 2))
    q[0, 0] = [0.6, 0.4, 0]
    q[2, 0] = [0, 0.3, 0.7]
    q[3, 1] = [0, 1, 0]
    codes = rng.integers(0, 3, (N, 2)).astype(float)
    codes[:2] = [[2, 0], [0, 1]]
    found["categorical"] = mixture(
        jaxem.Categorical(3),
        weights,
        jaxem.families.CategoricalParams(q),
        codes,
        lambda j: sum(log(q[j, c])[codes[:, c].astype(int)] for c in range(2)),
    )

    rate = np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0], [2.0, 4.0]])
    counts = rng.poisson(2, (N, 2)).astype(float) * (rng.random((N, 2)) < 0.7)
    found["poisson"] = mixture(
        jaxem.Poisson(),
        weights,
        jaxem.families.PoissonParams(rate),
        counts,
        lambda j: stats.poisson.logpmf(counts, rate[j]).sum(1),
    )
    theta = np.array([[1.0, 2.0]] * 4)
    found["negative binomial"] = mixture(
        jaxem.families.NegativeBinomial(),
        weights,
        jaxem.families.NegativeBinomialParams(rate, theta),
        counts,
        lambda j: stats.nbinom.logpmf(counts, theta[j], theta[j] / (theta[j] + rate[j])).sum(1),
    )
    blocks = {"a": x[:, :1], "b": bits}
    found["product"] = mixture(
        jaxem.Product({"a": jaxem.Gaussian("diagonal"), "b": jaxem.Bernoulli()}),
        weights,
        {"a": jaxem.families.GaussianParams(mean[:, :1], variance[:, :1]), "b": jaxem.families.BernoulliParams(p)},
        blocks,
        lambda j: (
            stats.norm.logpdf(x[:, 0], mean[j, 0], np.sqrt(variance[j, 0]))
            + np.where(bits == 1, log(p[j]), log(1 - p[j])).sum(1)
        ),
    )
    found["point mass"] = mixture(
        jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson()),
        [0.0, 1.0],
        {"zero": (), "count": jaxem.families.PoissonParams(np.array([[2.0]]))},
        counts[:, :1],
        lambda j: [log((counts[:, 0] == 0) * 1.0), stats.poisson.logpmf(counts[:, 0], 2.0)][j],
    )
    return found | {"chain": chain()}


def chain():
    """Left to right, of three states and two categories, some of which are 0."""
    rng = np.random.default_rng(1)
    initial = np.array([0.7, 0.3, 0.0])
    moves = np.array([[0.5, 0.5, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
    emission = np.array([[0.8, 0.2, 0.0], [0.3, 0.3, 0.4], [0.0, 0.5, 0.5]])
    x = rng.integers(0, 3, (N, 4)).astype(float)
    x[0] = [1, 2, 1, 0]  # no path leads there
    x[1:4] = [[0, 1, 2, 2], [0, 0, 1, 1], [0, 2, 2, 1]]
    paths = np.array(list(itertools.product(range(3), repeat=4)))
    prior = log(initial)[paths[:, 0]] + sum(log(moves)[paths[:, t], paths[:, t + 1]] for t in range(3))
    joint = prior[None] + sum(log(emission)[paths[:, t]][:, x[:, t].astype(int)].T for t in range(4))
    params = jaxem.models.HMMParams(initial, moves, jaxem.families.CategoricalParams(emission[:, None]))
    return Cell(jaxem.HMM(jaxem.Categorical(3), 3), params, x[..., None], joint, np.eye(3)[paths])


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


names = pytest.mark.parametrize("name", list(cells()))
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@names
@dtypes
def test_densities_and_posteriors(name, dtype):
    """Against NumPy, where log 0 is minus infinity; rows that nothing can produce have responsibilities 0."""
    cell = cells()[name]
    params, x = cast((cell.params, cell.x), dtype)
    model, tol = cell.model, {"rtol": 2e-4, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-10}
    right = logsumexp(cell.joint, 1)
    possible = np.isfinite(right)
    density, found, predicted = jax.tree.map(
        np.asarray, jax.jit(lambda p, x: (model.log_prob(p, x), model.posterior(p, x), model.predict(p, x)))(params, x)
    )
    assert_allclose(density, right, **tol)
    share = np.exp(cell.joint[possible] - right[possible, None])
    posterior = np.einsum("nm,m...->n...", share, cell.state)
    assert_allclose(found[possible], posterior, **tol)
    assert_array_equal(found[possible] == 0, posterior == 0)
    assert_array_equal(found[~possible], 0)
    best = cell.state[cell.joint[possible].argmax(1)].argmax(-1)
    assert_array_equal(predicted[possible], best)


@names
def test_derivatives(name):
    """Of the log-likelihood of what is possible, in every parameter that is not 0 or 1: finite differences."""
    cell = cells()[name]
    weights = jnp.asarray(np.isfinite(logsumexp(cell.joint, 1)), "float64")
    flat, back = ravel_pytree(cast(cell.params, "float64"))
    model, x = cell.model, cast(cell.x, "float64")

    @jax.jit
    def run(flat):
        def value(flat):
            return model.log_likelihood(back(flat), x, weights)

        steps = 1e-6 * jnp.eye(flat.size)
        ends = jax.vmap(value)(jnp.concatenate([flat[None] + steps, flat[None] - steps]))
        return jax.grad(value)(flat), (ends[: flat.size] - ends[flat.size :]) / 2e-6

    gradient, difference = run(flat)
    inside = (flat != 0) & (flat != 1)
    assert np.isfinite(gradient).all()
    assert_allclose(gradient[inside], difference[inside], rtol=1e-5, atol=1e-5)


QUICK = {("em", "float32"), ("squarem", "float64")}


@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [
        pytest.param(algorithm, dtype, marks=() if (algorithm, dtype) in QUICK else pytest.mark.slow)
        for algorithm in ALGORITHMS
        for dtype in ("float32", "float64")
    ],
)
@names
def test_zeros_stay(name, algorithm, dtype):
    """Ten iterations on what is possible; the objective is finite."""
    cell = cells()[name]
    params, x = cast((cell.params, cell.x), dtype)
    weights = jnp.asarray(np.isfinite(logsumexp(cell.joint, 1)), dtype)
    if ALGORITHMS[algorithm].e_step.needs in cell.model.latent.lacks:
        pytest.skip("refused")

    @jax.jit
    def run(params, x, weights):
        return jaxem.solve(
            cell.model,
            params,
            x,
            weights=weights,
            algorithm=ALGORITHMS[algorithm],
            max_steps=10,
            tol=0.0,
            key=jax.random.key(1),
        )

    fit = run(params, x, weights)
    assert np.isfinite(fit.log_likelihood)
    assert int(fit.num_steps) > 0
    for before, after in zip(jax.tree.leaves(params), jax.tree.leaves(fit.params), strict=True):
        assert np.isfinite(after).all()
        assert_array_equal(after[before == 0], 0)
        if name == "bernoulli":  # whose zeros are the complements
            assert_array_equal(after[before == 1], 1)
        if name in ("categorical", "product", "chain"):
            np.testing.assert_allclose(after[before == 1], 1, rtol=4 * np.finfo(dtype).eps)


@dtypes
def test_an_observation_that_nothing_can_produce_is_no_success(dtype):
    cell = cells()["bernoulli"]
    params, x = cast((cell.params, cell.x), dtype)
    params = params._replace(components=jaxem.families.BernoulliParams(params.components.probability.at[:, 0].set(0)))
    fit = jax.jit(lambda p: jaxem.solve(cell.model, p, x, max_steps=5))(params)
    assert jaxem.status_name(fit.status) == "not_finite"
    assert np.isneginf(fit.log_likelihood)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.params))


@dtypes
def test_states_that_are_excluded_are_neither_drawn_nor_forecast(dtype):
    cell = cells()["chain"]
    possible = np.isfinite(logsumexp(cell.joint, 1))
    model = cell.model

    @jax.jit
    def run(params, x):
        drawn = model.sample_states(jax.random.key(0), params, x)
        _, states = model.sample(jax.random.key(1), params, 50, num_steps=6)
        return (drawn, model.filter(params, x), model.forecast(params, x, 3)), states

    of_rows, states = jax.tree.map(np.asarray, run(*cast((cell.params, cell.x), dtype)))
    drawn, filtered, ahead = (each[possible] for each in of_rows)
    assert_array_equal(filtered[:, 0, 2], 0)
    moves = cell.params.transition
    assert (moves[drawn[:, :-1], drawn[:, 1:]] > 0).all()
    assert (moves[states[:, :-1], states[:, 1:]] > 0).all()
    assert_array_equal(ahead[filtered[:, -1, 2] == 1][:, :, :2], 0)


@dtypes
def test_topics_without_a_word(dtype):
    """A word that one topic lacks is another's; what no topic has makes a document impossible."""
    topics = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.4, 0.6, 0.0]])
    model = jaxem.LDA(2, 4, concentration=0.5)
    params = jaxem.models.LDAParams(jnp.asarray(0.5, dtype), jnp.asarray(topics, dtype))
    words, counts = np.array([[0, 2], [1, 2], [0, 3]]), np.array([[2.0, 3.0], [1.0, 1.0], [1.0, 1.0]])
    documents = jaxem.Documents(jnp.asarray(words), jnp.asarray(counts, dtype))
    moments, value = jax.jit(model.expectation)(params, documents)
    # Every word of the first document has one topic: 2 and 3 words of the two, and no entropy.
    alone = 2 * np.log(0.5) + 3 * np.log(0.6) + stats.dirichlet_multinomial.logpmf([2, 3], [0.5, 0.5], 5) - np.log(10)
    assert_allclose(value[0], alone, rtol=1e-5)
    assert_array_equal(moments.words[0], np.eye(2))
    assert np.isfinite(value[1])
    assert np.isneginf(value[2])
    assert all(np.isfinite(leaf).all() for leaf in moments)
    solve = jax.jit(lambda params, documents: jaxem.solve(model, params, documents, max_steps=3))
    fit = solve(params, jax.tree.map(lambda leaf: leaf[:2], documents))
    assert_array_equal(fit.params.topics[topics == 0], 0)
