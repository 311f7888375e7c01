"""The posterior at a temperature that stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.e_step import Expectation, Mode, Tempered
from jaxem.e_step.tempered import tempered
from jaxem.families import GaussianParams
from jaxem.kernels.exclusion import log_zero
from jaxem.models import MixtureParams
from jaxem.termination import FixedSteps

START = MixtureParams(jnp.asarray([0.4, 0.6]), GaussianParams(jnp.asarray([[-1.0], [1.0]]), jnp.ones((2, 1))))
MODEL = jaxem.GaussianMixture(2, "diagonal")


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((40, 1)) + 2.5 * (np.arange(40) % 2)[:, None])


def algorithm(rule):
    return jaxem.Algorithm(e_step=rule)


def fit(x, temperature, **options):
    return jaxem.solve(MODEL, START, x, algorithm=algorithm(Tempered(temperature)), **options)


@pytest.mark.slow
def test_one_is_em_and_almost_nothing_is_hard_em(x):
    options = {"termination": FixedSteps(), "max_steps": 15}
    run = jax.jit(lambda t: fit(x, t, **options))
    hard, soft = (
        jaxem.solve(MODEL, START, x, algorithm=algorithm(rule), **options) for rule in (Mode(), Expectation())
    )
    for found, expected in ((run(1.0), soft), (run(1e-7), hard)):
        for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8)
        np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-6)


def test_the_free_energy_never_falls(x):
    history = np.asarray(jax.jit(lambda t: fit(x, t, max_steps=60, termination=FixedSteps()).history)(0.3))
    history = history[np.isfinite(history)]
    assert len(history) == 61
    assert np.diff(history).min() > -1e-10
    assert history[-1] - history[0] > 1


@pytest.mark.slow
def test_the_derivative_by_temperature_is_the_limit_of_differences(x):
    run = jax.jit(lambda t: fit(x, t, termination=FixedSteps(), max_steps=3000).params.components.mean.sum())
    slope = jax.jit(jax.grad(run))(0.7)
    np.testing.assert_allclose(slope, (run(0.7 + 1e-5) - run(0.7 - 1e-5)) / 2e-5, rtol=1e-4)


def test_what_is_excluded_stays_so():
    low = log_zero(jnp.float64)
    found = tempered(jnp.asarray([[low], [3.0]]), jnp.asarray(1e6))
    assert float(found[0, 0]) == low
    slope = jax.grad(lambda t: jnp.exp(tempered(jnp.asarray([-jnp.inf, 1.0]), t)).sum())(1.0)
    np.testing.assert_allclose(slope, -np.e)
    with pytest.raises(ValueError, match="temperature must be positive"):
        Tempered(-1.0)
