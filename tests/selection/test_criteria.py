"""Criteria count what was observed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.selection import num_observations

RNG = np.random.default_rng(11)
CHAIN = jaxem.HMM(jaxem.Gaussian("diagonal"), 2)
STATES = jaxem.models.HMMParams(
    jnp.array([0.3, 0.7]),
    jnp.array([[0.8, 0.2], [0.4, 0.6]]),
    jaxem.families.GaussianParams(jnp.array([[-0.5], [0.5]]), jnp.ones((2, 1))),
)


def expected(model, params, data, count, weights=None):
    log_likelihood = model.log_likelihood(params, data, weights)
    return -2 * float(log_likelihood) + model.num_parameters(params) * np.log(count)


def test_steps_of_sequences_count(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), STATES)
    x = jnp.asarray(RNG.normal(size=(3, 20, 1)), dtype)
    assert float(jaxem.bic(CHAIN, params, x)) == pytest.approx(expected(CHAIN, params, x, 60), rel=1e-6)
    # Not those after the end, nor those of which nothing was observed.
    data = jaxem.Sequences(x.at[0, 3:5].set(jnp.nan), jnp.array([20, 10, 7]), jnp.ones((3, 20)).at[1, 0].set(0))
    assert float(num_observations(CHAIN, data)) == 20 - 2 + 10 - 1 + 7
    weights = jnp.asarray([1.0, 0.0, 2.0], dtype)
    assert float(num_observations(CHAIN, data, weights)) == 18 + 2 * 7
    assert float(num_observations(CHAIN, data, np.array([1, 0, 2]))) == 18 + 2 * 7
    found = jax.jit(lambda p, d, w: jaxem.bic(CHAIN, p, d, w))(params, data, weights)
    assert float(found) == pytest.approx(expected(CHAIN, params, data, 32, weights), rel=1e-6)


def test_cut_into_sequences_or_padded_the_number_is_the_same():
    x = jnp.asarray(RNG.normal(size=(12, 1)))
    whole = jaxem.Sequences(x[None])
    cut = jaxem.Sequences.of([np.asarray(x[:5]), np.asarray(x[5:])])
    padded = jaxem.Sequences(jnp.pad(x, ((0, 6), (0, 0)))[None], jnp.array([12]))
    assert [float(num_observations(CHAIN, data)) for data in (whole, cut, padded)] == [12] * 3


def test_rows_without_any_entry_do_not_count():
    x = RNG.normal(size=(30, 2))
    x[:4] = np.nan
    x[4:9, 0] = np.nan
    x, weights = jnp.asarray(x), jnp.asarray(np.r_[np.full(10, 2.0), np.ones(20)])
    model = jaxem.GaussianMixture(2, "diagonal", missing=True)
    params = jaxem.models.MixtureParams(
        jnp.ones(2) / 2, jaxem.families.GaussianParams(jnp.array([[-1.0, 0.0], [1.0, 0.0]]), jnp.ones((2, 2)))
    )
    assert float(num_observations(model, x)) == 26
    assert float(num_observations(model, x, weights)) == 32
    dropped = jaxem.bic(model, params, x[4:], weights[4:])
    assert float(jaxem.bic(model, params, x, weights)) == pytest.approx(float(dropped), rel=1e-9)
    for criterion in (jaxem.aic, jaxem.icl):
        assert np.isfinite(float(criterion(model, params, x, weights)))
    columns = jaxem.Single(jaxem.families.IncompleteColumns(jaxem.Poisson()))
    assert float(num_observations(columns, x)) == float(num_observations(jaxem.FactorAnalysis(1), x)) == 26


def test_weights_are_repetitions():
    x = jnp.asarray(RNG.normal(size=(10, 1)))
    counts = np.arange(10) % 3
    model = jaxem.GaussianMixture(2)
    params = jaxem.models.MixtureParams(
        jnp.array([0.4, 0.6]), jaxem.families.GaussianParams(jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1, 1)))
    )
    repeated = x[np.repeat(np.arange(10), counts)]
    for criterion in (jaxem.aic, jaxem.bic, jaxem.icl):
        given = float(criterion(model, params, x, jnp.asarray(counts, float)))
        assert given == pytest.approx(float(criterion(model, params, repeated)), rel=1e-9)


def test_steps_of_state_space_models_and_documents():
    values = np.zeros((2, 9, 2))
    values[0, 2:5] = np.nan
    values[1, 3, 0] = np.nan
    data = jaxem.Sequences(jnp.asarray(values), jnp.array([9, 6]))
    model = jaxem.LinearGaussianStateSpace(1, observation_covariance="diagonal")
    assert float(num_observations(model, data)) == 6 + 6
    documents = jaxem.Documents(jnp.zeros((3, 2), jnp.int32), jnp.array([[1.0, 2.0], [0.0, 0.0], [4.0, 0.0]]))
    assert float(num_observations(jaxem.LDA(2, 4), documents)) == 2


def test_experts_and_labels():
    rows, gate = jnp.zeros((7, 2)), jnp.ones((7, 1))
    experts = jaxem.MixtureOfExperts(jaxem.Gaussian(), 2)
    assert float(num_observations(experts, jaxem.models.Gated(rows, gate))) == 7
    labelled = jaxem.Labelled(rows, jnp.zeros(7, jnp.int32))
    assert float(num_observations(jaxem.GaussianMixture(2), labelled, jnp.arange(7.0))) == 21


def path_entropy(params, x, seen):
    """By all paths of one sequence."""
    k, steps = 2, len(x)
    log = np.log
    score = []
    for path in itertools.product(range(k), repeat=steps):
        value = log(params.initial[path[0]]) + sum(log(params.transition[a, b]) for a, b in itertools.pairwise(path))
        for step, state in enumerate(path):
            if seen[step]:
                value -= (x[step] - params.emission.mean[state, 0]) ** 2 / 2
        score.append(float(value))
    p = np.exp(np.array(score) - np.max(score))
    p = p / p.sum()
    return -np.sum(p[p > 0] * log(p[p > 0]))


def test_the_entropy_of_a_path():
    x = RNG.normal(size=(2, 6, 1))
    x[0, 2] = np.nan
    data = jaxem.Sequences(jnp.asarray(x), jnp.array([6, 4]))
    found = CHAIN.entropy(STATES, data)
    first = path_entropy(STATES, x[0, :, 0], ~np.isnan(x[0, :, 0]))
    second = path_entropy(STATES, x[1, :4, 0], np.ones(4, bool))
    np.testing.assert_allclose(found, [first, second], rtol=1e-9)
    bic, icl = (float(criterion(CHAIN, STATES, data)) for criterion in (jaxem.bic, jaxem.icl))
    assert icl == pytest.approx(bic + 2 * (first + second), rel=1e-9)


def test_the_entropy_of_a_long_path_keeps_its_digits(dtype):
    """It is nearly zero where the states are certain: no difference of large numbers."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), STATES)
    params = params._replace(emission=params.emission._replace(mean=jnp.asarray([[-9.0], [9.0]], dtype)))
    x = jnp.asarray(np.where(np.arange(3000) % 7 < 3, -9.0, 9.0)[None, :, None], dtype)
    assert 0 <= float(CHAIN.entropy(params, x)[0]) < 1e-30
    # A state that cannot be, and one that cannot be left.
    stuck = params._replace(initial=jnp.asarray([1.0, 0.0], dtype), transition=jnp.eye(2, dtype=dtype))
    flat = jnp.zeros_like(x)
    assert float(CHAIN.entropy(stuck, flat)[0]) < 1e-6
    assert np.isfinite(jax.grad(lambda p: jnp.sum(CHAIN.entropy(p, flat)))(params).transition).all()


def test_what_is_not_discrete_has_no_such_entropy():
    model = jaxem.FactorAnalysis(1)
    params = jaxem.families.FactorParams(jnp.zeros(2), jnp.ones((2, 1)), jnp.ones(2))
    one = jnp.ones((1, 1))
    states = jaxem.models.StateSpaceParams(one[0], one, one, one, one, one)
    with pytest.raises(jaxem.MissingCapabilityError, match="not discrete"):
        jaxem.icl(jaxem.LinearGaussianStateSpace(1), states, jnp.zeros((1, 3, 1)))
    assert np.isfinite(float(jaxem.icl(model, params, jnp.ones((3, 2)))))
