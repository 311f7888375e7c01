"""What is kept of the iterates, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.record import Average, Draws
from tests.helpers import engine


def feed(record, values, max_steps):
    state = record.init(jax.ShapeDtypeStruct((2,), jnp.float64), jnp.float64)
    add = jax.jit(record.add)
    for step, value in enumerate(values, 1):
        state = add(state, jnp.asarray(value), jnp.asarray(step), jnp.asarray(max_steps))
    return record.report(state)


def test_average_leaves_the_burn_in_out_and_measures_its_error():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1000, 2)) + np.array([3.0, -1.0])
    report = feed(Average(0.2, batches=10), values, 1000)
    kept = values[200:]
    np.testing.assert_allclose(report.params, kept.mean(0), rtol=1e-12)
    means = kept.reshape(10, 80, 2).mean(1)
    np.testing.assert_allclose(report.standard_error, means.std(0, ddof=1) / np.sqrt(10), rtol=1e-10)


def test_average_of_a_run_that_ended_in_the_burn_in_is_the_last_iterate():
    report = feed(Average(0.5), np.arange(6.0).reshape(3, 2), 100)
    np.testing.assert_array_equal(report.params, [4.0, 5.0])
    assert np.isnan(report.standard_error).all()


def test_draws_are_thinned_after_the_burn_in():
    report = feed(Draws(4, burn_in=2, thin=3), np.arange(1.0, 11.0)[:, None] * np.ones(2), 10)
    np.testing.assert_array_equal(np.asarray(report.draws)[:3, 0], [3.0, 6.0, 9.0])
    assert np.isnan(np.asarray(report.draws)[3]).all()
    assert report.params is None


def test_a_stochastic_fit_reports_its_average_and_its_error():
    model, start, x, w, _ = engine.case("poisson")
    fit = engine.solve(model, start, x, w, algorithm=jaxem.stochastic_em(), max_steps=2000, key=jax.random.key(1))
    assert jaxem.status_name(fit.status) == "completed"
    plain = engine.solve(model, start, x, w, tol=1e-12)
    error = np.asarray(fit.standard_error.components.rate)
    assert (error > 0).all()
    assert (error < 0.1 * np.asarray(plain.params.components.rate)).all()
    np.testing.assert_allclose(fit.params.weights.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.0])
def test_bad_burn_in(bad):
    with pytest.raises(ValueError, match="burn_in must lie in"):
        Average(bad)
