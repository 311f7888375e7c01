"""Sequences of rows that are trees: responses with covariates, intervals, tables by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.selection import num_observations

RNG = np.random.default_rng(2)
LENGTHS = (6, 9, 4)
COVARIATES = [np.c_[np.ones(t), RNG.normal(size=t)] for t in LENGTHS]
RESPONSES = [x @ np.array([1.0, 2.0]) + RNG.normal(size=len(x)) for x in COVARIATES]
MODEL = jaxem.HMM(jaxem.LinearRegression(), 2)
PARAMS = jaxem.models.HMMParams(
    jnp.array([0.3, 0.7]),
    jnp.array([[0.8, 0.2], [0.4, 0.6]]),
    jaxem.families.RegressionParams(jnp.array([[1.0, 2.0], [-1.0, 0.0]]), jnp.array([1.0, 2.0])),
)
ALL = jaxem.Sequences.of([jaxem.Responses(x, y) for x, y in zip(COVARIATES, RESPONSES, strict=True)])


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def alone(i, keep=slice(None)):
    """One sequence, of some of its steps."""
    return on_device(jaxem.Responses(COVARIATES[i][None, keep], RESPONSES[i][None, keep]))


def test_padded_is_not_padded():
    assert ALL.values.x.shape == (3, 9, 2)
    assert ALL.values.y.shape == (3, 9)
    assert np.asarray(ALL.lengths).tolist() == list(LENGTHS)
    each = np.array([float(MODEL.log_prob(PARAMS, alone(i))[0]) for i in range(3)])
    np.testing.assert_allclose(MODEL.log_prob(PARAMS, on_device(ALL)), each, rtol=1e-10)
    assert float(num_observations(MODEL, ALL)) == sum(LENGTHS)
    np.testing.assert_array_equal(np.asarray(MODEL.predict(PARAMS, on_device(ALL)) < 0), np.asarray(ALL.ended()))


def test_columns_of_responses():
    column = jaxem.Sequences.of([jaxem.Responses(x, y[:, None]) for x, y in zip(COVARIATES, RESPONSES, strict=True)])
    MODEL.check(column, None)
    found, same = (MODEL.posterior(PARAMS, on_device(data)) for data in (ALL, column))
    np.testing.assert_array_equal(found, same)


@pytest.mark.slow
def test_a_step_without_a_response_was_not_observed():
    """Its covariates are known, and do not matter."""
    gone = ALL.values.y.copy()
    gone[1, 2:4] = np.nan
    missing = ALL._replace(values=ALL.values._replace(y=gone))
    masked = ALL._replace(observed=~np.isnan(gone))
    MODEL.check(missing, None)
    values = MODEL.log_prob(PARAMS, on_device(missing))
    np.testing.assert_allclose(values, MODEL.log_prob(PARAMS, on_device(masked)), rtol=1e-12)
    assert float(num_observations(MODEL, missing)) == sum(LENGTHS) - 2
    fits = [jaxem.fit(MODEL, data, key=jax.random.key(0), max_steps=5) for data in (missing, masked)]
    np.testing.assert_allclose(fits[0].objective, fits[1].objective, rtol=1e-10)


@pytest.mark.slow
def test_intervals():
    y = RNG.gamma(2.0, 1.0, size=(2, 8))
    values = jaxem.Interval.right(np.minimum(y, 2.0), y > 2)
    model = jaxem.HMM(jaxem.families.CensoredExponential(), 2)
    flat, column = values, jaxem.Interval(values.lower[..., None], values.upper[..., None])
    fits = [jaxem.fit(model, data, key=jax.random.key(0), max_steps=4) for data in (flat, column)]
    np.testing.assert_allclose(fits[0].objective, fits[1].objective, rtol=1e-12)
    parts = [jaxem.Interval(values.lower[i], values.upper[i]) for i in range(2)]
    joined = jaxem.Sequences.of([parts[0], jaxem.Interval(*(bound[:5] for bound in parts[1]))])
    assert float(num_observations(model, joined)) == 13
    np.testing.assert_allclose(
        model.log_prob(fits[0].params, on_device(joined))[0], model.log_prob(fits[0].params, on_device(values))[0]
    )


def test_what_is_refused():
    with pytest.raises(jaxem.DataError, match=r"values must have shape \[sequences, steps, columns\]"):
        jaxem.Sequences(np.zeros((4, 5))).check()
    with pytest.raises(jaxem.DataError, match=r"sequences\[1\] have different numbers of rows"):
        jaxem.Sequences.of([jaxem.Responses(COVARIATES[0], RESPONSES[0]), jaxem.Responses(COVARIATES[1], RESPONSES[0])])
    short = ALL._replace(values=ALL.values._replace(y=ALL.values.y[:, :-1]))
    with pytest.raises(jaxem.DataError, match="values must have shape"):
        MODEL.check(short, None)
    many = ALL._replace(values=ALL.values._replace(y=np.repeat(ALL.values.y[..., None], 2, -1)))
    with pytest.raises(jaxem.DataError, match=r"y must have shape"):
        MODEL.check(many, None)
    with pytest.raises(jaxem.MissingCapabilityError, match="no distribution of covariates"):
        MODEL.sample(jax.random.key(0), PARAMS, 2, 5)
