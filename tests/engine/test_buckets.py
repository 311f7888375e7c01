"""Tables that are filled up: the same comes out, and nothing is compiled for another number of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxem
from jaxem.engine.buckets import ASKED, FITTED, bucket, bucket_of_steps, filled
from jaxem.structures.sequences import lengthened
from tests.helpers import engine, product
from tests.helpers.compiling import compilations

KEY = jax.random.key(0)
FAITHFUL = jaxem.datasets.old_faithful().data


@given(st.integers(1, 2**17), st.integers(0, 2**13), st.sampled_from([FITTED, ASKED]))
def test_at_most_an_eighth_more_or_few_numbers(n, numbers, least):
    total = bucket(n, numbers, least)
    assert total >= n
    assert bucket(total, numbers, least) == total
    assert total == n or total * 8 <= n * 9 or (total <= least and total * numbers <= 2**12)


def test_the_list_is_short():
    assert len({bucket(n, 4, FITTED) for n in range(1, 2**16)}) < 75
    assert bucket(272, 2, FITTED) == bucket(300, 2, FITTED) == bucket(300, 2, ASKED) == 300
    assert {bucket(n, 4, ASKED) for n in range(1, 257)} == {256}
    assert bucket(2, 100_000, ASKED) == 2  # two long rows stay two
    assert bucket(2**16 + 1, 4, FITTED) == 2**16 + 1


@given(st.integers(1, 2**17), st.integers(1, 2**13))
def test_at_most_a_sixteenth_more_steps_or_few_numbers(n, numbers):
    total = bucket_of_steps(n, numbers)
    assert total >= n
    assert bucket_of_steps(total, numbers) == total
    assert total * 16 <= n * 17 or (total <= 16 and total * numbers <= 2**12)


def test_rows_that_are_added_are_rows_of_the_table_without_weight():
    x = np.arange(34.0).reshape(17, 2)
    table = filled(x, None, np.float32, FITTED)
    assert table.num_rows == 17
    np.testing.assert_array_equal(table.data, np.concatenate([x, x[:1]]))
    np.testing.assert_array_equal(table.weights, [1.0] * 17 + [0.0])
    assert table.weights.dtype == np.float32
    np.testing.assert_array_equal(filled(x[:16], None, np.float32, FITTED).weights, np.ones(16))
    assert filled(x[:16], np.ones(16), np.float32, FITTED) is None


def test_data_bound_to_a_device_stay_as_they_are():
    x = jax.device_put(jnp.zeros((17, 2)), jax.devices()[0])
    assert filled(x, None, np.float64, FITTED) is None


def test_another_number_of_rows_compiles_nothing():
    model, x = jaxem.GaussianMixture(2), FAITHFUL

    def fit(rows, weights=None):
        return jaxem.fit(model, rows, weights=weights, key=KEY, restarts=3, max_steps=5)

    params = fit(x[:150]).params
    assert compilations(lambda: fit(x[:150]))[1] == 0
    weights = np.random.default_rng(0).multinomial(147, np.full(147, 1 / 147)).astype(float)
    for run in (lambda: fit(x[1:150]), lambda: fit(x[:145]), lambda: fit(x[3:150], weights)):
        found, count = compilations(run)
        assert count == 0
        assert np.isfinite(found.objective)

    ask = model.log_prob, model.predict, model.posterior, model.entropy, model.log_likelihood
    criteria = (jaxem.selection.bic, jaxem.selection.icl)
    for question in (*ask, *(lambda p, rows, criterion=criterion: criterion(model, p, rows) for criterion in criteria)):
        question(params, x[:150])
        for rows in (x[:1], x[:77], x[1:150]):
            answer, count = compilations(lambda rows=rows: question(params, rows))  # noqa: B023
            assert count == 0
            assert answer.shape[:1] in ((), (len(rows),))


def test_a_table_that_is_full_has_the_programs_of_others():
    model = jaxem.GaussianMixture(2)
    params = model.init(KEY, FAITHFUL)
    model.log_likelihood(params, FAITHFUL)
    found, count = compilations(lambda: model.log_likelihood(params, np.resize(FAITHFUL, (300, 2))))
    assert count == 0
    assert np.isfinite(found)


@pytest.mark.parametrize("n", [1, 13, 17, 150])
def test_answers_are_those_of_the_rows_alone(n):
    x, model = jnp.asarray(FAITHFUL[:n]), jaxem.GaussianMixture(2)
    params = model.init(KEY, FAITHFUL)
    for name in ("log_prob", "posterior", "predict", "entropy", "log_likelihood"):
        ask = getattr(model, name)
        np.testing.assert_allclose(ask(params, x), jax.jit(ask)(params, x), rtol=1e-13, atol=1e-15)
    weights = np.arange(1.0, n + 1)
    np.testing.assert_allclose(
        model.log_likelihood(params, x, weights), np.sum(weights * np.asarray(model.log_prob(params, x))), rtol=1e-13
    )
    total = jaxem.selection.num_observations(model, x, weights)
    assert total == weights.sum()


SEQUENCES = np.random.default_rng(1).poisson(3.0, (7, 100, 1)).astype(float)
CHAINS = {
    "chain": jaxem.HMM(jaxem.Poisson(), 2),
    "state space": jaxem.LinearGaussianStateSpace(1),
}
BY_STEP = "posterior", "predict", "filter", "smoother", "log_predictive", "transition_probabilities"


def test_steps_that_are_added_come_after_the_end():
    data = jaxem.Sequences(np.ones((3, 33, 2)), np.array([33, 1, 5]), np.ones((3, 33)))
    x = filled(jaxem.models.Driven(data, np.ones((3, 33, 1))), None, np.float64, FITTED, lengthened)
    assert x.added_steps == 1
    assert x.num_rows == 3
    assert x.data.covariates.shape[1:] == (34, 1)
    assert x.data.rows.values.shape[1:] == (34, 2)
    assert x.data.rows.observed.shape[1:] == (34,)
    np.testing.assert_array_equal(x.data.rows.lengths[:3], data.lengths)
    equal = filled(data.values, None, np.float64, FITTED, lengthened).data
    np.testing.assert_array_equal(equal.lengths, 33)


@pytest.mark.parametrize("name", ["chain", pytest.param("state space", marks=pytest.mark.slow)])
def test_another_length_compiles_nothing(name):
    model, x = CHAINS[name], SEQUENCES

    def fit(data):
        return jaxem.fit(model, data, key=KEY, restarts=2, max_steps=5, throw=False)

    params = fit(x).params
    ragged = jaxem.Sequences(x[:5, :99], np.array([99, 98, 7, 1, 40]))
    ask = [name for name in ("posterior", "smoother", "log_likelihood") if hasattr(model, name)]
    for data in (x, x[1:, 1:], x[2:, :97], ragged):
        assert compilations(lambda data=data: fit(data))[1] == 0
        for question in ask:
            answer, count = compilations(lambda data=data, question=question: getattr(model, question)(params, data))
            assert count == 0 or data is x
            answer = jax.tree.leaves(answer)[0]
            n, steps = data.shape[:2]
            assert answer.shape[:2] == (n, steps) or question == "log_likelihood"


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_answers_are_those_of_the_steps_alone(name):
    model, params = CHAINS[name], CHAINS[name].init(KEY, SEQUENCES)
    data = jaxem.Sequences(jnp.asarray(SEQUENCES[:3, :35]), jnp.array([35, 1, 7]))
    for question in (*BY_STEP, "log_prob", "log_likelihood"):
        if hasattr(model, question):
            ask = getattr(model, question)
            found, plain = ask(params, data), jax.jit(ask)(params, data)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), found, plain)
            assert question != "transition_probabilities" or found.shape[:2] == (3, 34)


@pytest.mark.slow
def test_algorithms_that_draw_see_the_rows_alone():
    x = FAITHFUL[:150]
    start = jaxem.GaussianMixture(2).init(KEY, x)
    model, options = jaxem.GaussianMixture(2), {"algorithm": jaxem.incremental_em(5), "max_steps": 10}
    fits = jaxem.fit(model, x, init=start, key=KEY, **options), jaxem.solve(model, start, jnp.asarray(x), **options)
    engine.assert_same(fits[0].params, fits[1].params, rtol=1e-10)


FAST = ("full", "function")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in product.models()]
)
def test_every_model_is_fitted_as_without_them(name):
    """By `solve`, which takes the rows as they are."""
    model, start, x, weights = product.models()[name]
    x, weights = jax.tree.map(lambda leaf: leaf[:101], (x, weights))
    algorithm = jaxem._algorithm.default_algorithm(model)
    if algorithm.draws:
        pytest.skip("draws")
    options = {"algorithm": algorithm, "max_steps": 3, "weights": weights}
    filled_up = jaxem.fit(model, x, init=start, key=KEY, throw=False, **options)
    plain = jaxem.solve(model, start, x, **options)
    assert engine.name(filled_up) == engine.name(plain)
    np.testing.assert_allclose(filled_up.objective, plain.objective, rtol=1e-10)
    engine.assert_same(filled_up.params, plain.params, rtol=1e-6)
