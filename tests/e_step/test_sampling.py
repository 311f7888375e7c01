"""Draws against the exact posterior, ascent-based growth of their number, and annealing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.e_step import Alpha, Annealed, MonteCarlo, Sample
from tests.helpers import engine


def test_averages_of_draws_are_the_moments():
    model, start, x, _w, _ = engine.case("poisson")
    potentials = model.potentials(model.natural(start), x)
    exact, value = model.latent.expectation(potentials)
    drawn, same = jax.jit(lambda key: Sample(4000).posterior(model, potentials, (), x, key))(jax.random.key(3))
    np.testing.assert_allclose(same, value)
    deviation = (np.asarray(drawn) - np.asarray(exact)) / np.sqrt(np.asarray(exact * (1 - exact)) / 4000 + 1e-9)
    assert np.abs(deviation).max() < 5.5
    assert 0.8 < deviation.std() < 1.2


@pytest.mark.slow
def test_monte_carlo_em_stops_near_the_maximum():
    model, start, x, w, _ = engine.case("poisson")
    plain = engine.solve(model, start, x, w, tol=1e-12)
    fit = engine.solve(
        model, start, x, w, tol=1e-4, algorithm=jaxem.monte_carlo_em(10, 2000), max_steps=400, key=jax.random.key(0)
    )
    assert jaxem.status_name(fit.status) == "converged"
    assert 0 <= float(plain.objective - fit.objective) / len(x) < 1e-2


def test_the_measured_error_of_the_gain_is_its_spread():
    from jaxem.e_step.monte_carlo import _gains

    model, start, x, w, _ = engine.case("poisson")
    other = start._replace(weights=jnp.roll(start.weights, 1) * 0.3 + 0.7 * start.weights)
    sums = jax.jit(lambda key, m: _gains(model.bound(), start, other, m)(x, w, key))
    found = np.array([sums(jax.random.key(i), jnp.asarray(8)) for i in range(200)])
    predicted = np.sqrt(found[:, 1].mean() / 8)
    assert 0.8 < found[:, 0].std() / predicted < 1.25


def test_annealing_schedules():
    rising = Annealed(0.5, 1.5).schedule
    np.testing.assert_allclose(rising, [0.5, 0.75, 1.0])
    beyond = Annealed(0.5, 2.0, peak=3.0).schedule
    np.testing.assert_allclose(beyond, [0.5, 1.0, 2.0, 3.0, 1.5, 1.0])


def test_annealing_is_monotone_at_each_temperature_and_ends_as_em():
    model, start, x, w, _ = engine.case("full")
    algorithm = jaxem.annealed_em(0.3, 1.4, steps=6, noise=0.0)
    fit = engine.solve(model, start, x, w, algorithm=algorithm, tol=1e-12)
    stages, size = len(algorithm.e_step.schedule), 6
    history = np.asarray(fit.history)[: int(fit.num_steps) + 1]
    for stage in range(stages):
        last = (stage + 1) * size if stage < stages - 1 else len(history)
        assert (np.diff(history[stage * size : last]) >= -1e-9 * abs(history[0])).all()
    assert jaxem.status_name(fit.status) == "converged"
    again = engine.solve(model, fit.params, x, w, tol=1e-12)
    np.testing.assert_allclose(fit.objective, again.objective, rtol=1e-9)


def test_alpha_in_its_exact_form_ascends_to_the_same_point():
    model, start, x, w, _ = engine.case("full")
    plain = engine.solve(model, start, x, w, tol=1e-13)
    fit = engine.solve(model, start, x, w, tol=1e-13, algorithm=jaxem.alpha_em(0.0, "exact"))
    np.testing.assert_allclose(fit.objective, plain.objective, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sample(0), "draws must be at least 1"),
        (lambda: MonteCarlo(1), "draws must lie between 2"),
        (lambda: Annealed(0.0), "annealing needs 0 < start"),
        (lambda: Alpha(1.0), r"alpha must lie in \(-3, 1\)"),
        (lambda: Alpha(None, "exact"), "the exact form needs alpha"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
