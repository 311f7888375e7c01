"""Accelerators on the slow Poisson mixture of London's death notices, and under conditions where they must not fail."""

from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import jaxem
from jaxem.accelerate import AbstractAccelerator
from tests.helpers import engine, problems

ALGORITHMS = {
    "squarem": jaxem.squarem(),
    "squarem-parameters": jaxem.squarem(unconstrained=False),
    "squarem-tail": jaxem.squarem(tail=True),
    "anderson": jaxem.anderson(),
    "quasi-newton": jaxem.algorithms.quasi_newton_em(pairs=2),
    "parabolic": jaxem.algorithms.parabolic_em(),
    "alpha": jaxem.alpha_em(),
}
# Evaluations of the map to a parameter change of 1e-7; EM takes 2113.
MOST = {
    "squarem-parameters": 70,
    "anderson": 60,
    "quasi-newton": 60,
    "squarem": 200,
    "squarem-tail": 220,
    "parabolic": 600,
    "alpha": 422,
}


@lru_cache
def london():
    problem = problems.london_times()
    start = engine.params(problem.start)
    return jnp.asarray(np.asarray(problem.x, float)), jnp.asarray(np.asarray(problem.weights, float)), start


def moved(step, tol):
    """The norm of the change in one weight and both rates, as the published count has it."""
    squares = (step.params.weights[0] - step.previous.weights[0]) ** 2
    squares += jnp.sum((step.params.components.rate - step.previous.components.rate) ** 2)
    return jnp.sqrt(squares) <= tol


@pytest.mark.parametrize("name", ALGORITHMS)
def test_london_times(name):
    x, w, start = london()
    model = jaxem.Mixture(jaxem.Poisson(), 2)
    fit = engine.solve(
        model, start, x, w, algorithm=ALGORITHMS[name], tol=1e-7, termination=jaxem.termination.When(moved)
    )
    assert jaxem.status_name(fit.status) == "converged"
    np.testing.assert_allclose(fit.log_likelihood, -1989.945859883, atol=2e-8)
    assert int(fit.num_steps) <= MOST[name]
    history = np.asarray(fit.history)[: int(fit.num_steps) + 1]
    assert np.all(fit.objective >= history[0])
    if not name.startswith("squarem"):  # those pass through points that are not judged
        assert (np.diff(history) >= -1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squarem", "anderson", "quasi-newton", "parabolic", "alpha"])
def test_the_fixed_point_is_that_of_em(name):
    model, start, x, w, _ = engine.case("full")
    plain = engine.solve(model, start, x, w, tol=1e-14)
    fit = engine.solve(model, start, x, w, tol=1e-14, algorithm=ALGORITHMS[name])
    np.testing.assert_allclose(fit.objective, plain.objective, rtol=1e-10)
    np.testing.assert_allclose(fit.params.components.mean, plain.params.components.mean, rtol=0, atol=1e-4)


class _Back(NamedTuple):
    phase: Array
    before: Array


class _RoundAndRound(AbstractAccelerator):
    """An EM step, back to where it came from, and the same step once more."""

    def init(self, free):
        return _Back(jnp.zeros((), jnp.int32), free)

    def __call__(self, here, mapped, state):
        back = state.phase == 1
        before = jnp.where(state.phase == 0, here, state.before)
        return jnp.where(back, before, mapped), _Back((state.phase + 1) % 3, before)

    def plain(self, state):
        return state.phase == 1

    def comparable(self, state):
        return state.phase != 2

    def rejected(self, state):
        return state.before, state


def test_what_is_lost_and_found_again_is_no_convergence():
    x, w, start = london()
    algorithm = jaxem.Algorithm(accelerator=_RoundAndRound())
    fit = engine.solve(jaxem.Mixture(jaxem.Poisson(), 2), start, x, w, algorithm=algorithm, tol=1e-12, max_steps=3)
    np.testing.assert_allclose(fit.history[3], fit.history[1], rtol=1e-12)
    assert fit.history[2] < fit.history[1]
    assert engine.name(fit) == "max_steps_reached"


@pytest.mark.slow
def test_lanes_do_not_touch_each_other():
    """One lane by itself and among others, one of which cannot be evaluated."""
    model, start, x, w, _ = engine.case("poisson")
    other = jax.tree.map(lambda leaf: leaf * jnp.asarray([0.5, 1.0, 2.0])[:, None] if leaf.ndim == 2 else leaf, start)
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), start)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, other, broken)

    @eqx.filter_jit
    def run(stack):
        return jax.vmap(lambda p: jaxem.solve(model, p, x, weights=w, algorithm=jaxem.anderson(), tol=1e-10))(stack)

    lanes = run(stack)
    alone = engine.solve(model, start, x, w, algorithm=jaxem.anderson(), tol=1e-10)
    assert jaxem.status_name(lanes.status)[2] == "not_finite"
    assert int(lanes.num_steps[0]) == int(alone.num_steps)
    np.testing.assert_allclose(lanes.objective[0], alone.objective, rtol=1e-12)


def test_frozen_parameters_stay():
    _, start, x, w, _ = engine.case("poisson")
    model = jaxem.Mixture(jaxem.Poisson(), 3, frozen=("components.rate",))
    fit = engine.solve(model, start, x, w, algorithm=jaxem.squarem())
    np.testing.assert_array_equal(fit.params.components.rate, start.components.rate)
    plain = engine.solve(model, start, x, w)
    np.testing.assert_allclose(fit.params.weights, plain.params.weights, atol=1e-4)


def test_what_cannot_be_accelerated_is_refused():
    with pytest.raises(ValueError, match="Squarem needs a map whose objective never falls, and Sample"):
        jaxem.squarem(jaxem.stochastic_em())
    with pytest.raises(ValueError, match="extrapolates from evaluations of the whole data"):
        jaxem.anderson(jaxem.incremental_em())


@pytest.mark.slow
def test_the_tail_begins_as_em_and_ends_where_em_does():
    x = jnp.asarray(jaxem.datasets.old_faithful().data)
    model = jaxem.GaussianMixture(3)
    for seed in range(4):
        start = model.init(jax.random.key(seed), x)
        plain = jaxem.solve(model, start, x, tol=1e-9, max_steps=5000, history_size=5001)
        tail = jaxem.solve(model, start, x, tol=1e-9, algorithm=jaxem.squarem(tail=True))
        assert engine.name(plain) == engine.name(tail) == "converged"
        assert 2 * tail.num_steps < plain.num_steps
        np.testing.assert_allclose(tail.objective, plain.objective, atol=1e-5)
        # Its first steps are those of EM, and there are more of them than SQUAREM takes.
        same = np.isclose(tail.history[: plain.num_steps], plain.history[: tail.history.size], rtol=1e-12, atol=0)
        assert same[:5].all()
        assert not same.all()


def test_the_tail_has_begun_where_steps_shrink_along_a_line():
    accelerator = jaxem.accelerate.Squarem(tail=True)
    turning = [np.array([np.cos(a), np.sin(a)]) for a in 0.5 * np.arange(8)]
    growing = [1.1**i * np.ones(2) for i in range(8)]
    shrinking = [0.9**i * np.ones(2) for i in range(8)]
    for steps, begun in ((turning, False), (growing, False), (shrinking, True)):
        here, state = jnp.zeros(2), accelerator.init(jnp.zeros(2))
        plain = []
        for step in steps:
            target, state = accelerator(here, here + step, state)
            plain.append(np.allclose(target, here + step))
            here = here + step
        assert bool(state.calm) == begun
        assert all(plain) != begun
