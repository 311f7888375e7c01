import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxem
from jaxem.m_step import Maximize, Optax
from tests.helpers import engine
from tests.m_step import cases

pytestmark = pytest.mark.slow  # compiled anew for every rule and model


@pytest.mark.parametrize("name", cases.CASES)
def test_gem_ends_where_em_ends(name):
    cases.assert_climbs_to_the_maximum(Optax(optax.adam(0.05), 20), cases.CASES[name](), 3900)


def test_enough_steps_are_the_maximum_of_q():
    """Quasi-Newton steps with a line search to convergence: the closed form, to rounding."""
    case = cases.london()
    fit, em = (cases.run(rule, case, 3) for rule in (Optax(optax.lbfgs(), 25), Maximize()))
    engine.assert_same(fit.params, em.params, rtol=1e-7)


def test_one_plain_step_is_a_gradient_step():
    case, rate = cases.london(), 0.1
    fit = cases.run(Optax(optax.sgd(rate), 1), case, 1)

    def value(free):
        return case.model.log_likelihood(case.model.constrain(free), case.x, case.weights) / jnp.sum(case.weights)

    free = case.model.unconstrain(case.start)
    stepped = jax.tree.map(lambda u, g: u + rate * g, free, jax.grad(value)(free))
    engine.assert_same(fit.params, case.model.constrain(stepped), rtol=1e-10)


def test_steps_too_long_are_shortened_until_q_rises():
    """The longest power of two that does not lower Q; the next iteration starts from twice that."""
    case, rate = cases.london(), 1e4
    rule = Optax(optax.sgd(rate), 1)
    fit = cases.run(rule, case, 1)
    values = engine.history(fit)
    assert values[1] > values[0]
    free, moved = case.model.unconstrain(case.start), case.model.unconstrain(fit.params)

    def value(free):
        return case.model.log_likelihood(case.model.constrain(free), case.x, case.weights) / jnp.sum(case.weights)

    scale = (moved.components.rate - free.components.rate) / (rate * jax.grad(value)(free).components.rate)
    halvings = -np.log2(np.asarray(scale))
    assert halvings.min() > 5
    np.testing.assert_allclose(halvings, np.round(halvings[0, 0]), atol=1e-6)
    values = engine.history(cases.run(rule, case, 3900))
    assert np.diff(values).min() > -1e-8
    assert values[-1] > case.model.log_likelihood(case.best, case.x, case.weights) - 1e-4


def test_none_is_taken_where_none_rises():
    fit = cases.run(Optax(optax.sgd(1e30), 1, halvings=3), cases.london(), 2)
    assert np.ptp(engine.history(fit)) == 0
    engine.assert_same(fit.params, cases.london().start, rtol=0, atol=0)


def test_frozen_parameters_stay():
    case = cases.london()
    model = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("components",))
    fit = cases.run(Optax(optax.adam(0.05), 20), case._replace(model=model), 50)
    np.testing.assert_array_equal(fit.params.components.rate, case.start.components.rate)
    exact = cases.run(Maximize(), case._replace(model=model), 500)
    np.testing.assert_allclose(fit.params.weights, exact.params.weights, rtol=1e-4)


def test_no_closed_form_is_needed():
    case, closed = engine.case("function"), engine.case("poisson")
    algorithm = jaxem.Algorithm(m_step=Optax(optax.adam(0.05), 10))
    a, b = (engine.solve(c.model, c.start, c.x, algorithm=algorithm, tol=1e-11) for c in (case, closed))
    assert engine.name(a) == "converged"
    engine.assert_same(a.params, b.params, rtol=1e-6, atol=1e-6)


def test_lanes_in_single_precision():
    cases.assert_lanes_in_single_precision(Optax(optax.adam(0.05), 20), cases.gaussians())


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="steps must be at least 1"):
        Optax(optax.sgd(0.1), 0)


def test_a_schedule_runs_over_the_whole_fit_where_the_optimiser_is_carried_on():
    """A rate that is 0 from the sixth step on: two steps an iteration, so that nothing moves after the third."""
    case = cases.london()

    def rate(count):
        return jnp.where(count < 6, 0.1, 0.0)

    def after(steps, restart):
        return cases.run(Optax(optax.sgd(rate), 2, restart=restart), case, steps).params

    engine.assert_same(after(6, False), after(3, False), rtol=1e-12)
    engine.assert_same(after(3, False), after(3, True), rtol=1e-10)
    moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), after(6, True), after(3, True))
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_likelihood_never_falls_where_the_optimiser_is_carried_on():
    case = cases.london()
    rule = Optax(optax.adam(optax.exponential_decay(0.05, 100, 0.99)), 20, restart=False)
    values = engine.history(cases.run(rule, case, 400))
    assert np.diff(values).min() > -1e-8
    assert values[-1] > case.model.log_likelihood(case.best, case.x, case.weights) - 0.01
