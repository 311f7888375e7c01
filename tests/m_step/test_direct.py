import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxem
from jaxem.m_step import GradientAscent, NewtonAscent
from tests.helpers import engine
from tests.m_step import cases

pytestmark = pytest.mark.slow  # compiled anew for every rule and model


@pytest.mark.parametrize("name", cases.CASES)
def test_newton_ends_where_em_ends(name):
    case = cases.CASES[name]()
    values = engine.history(cases.assert_climbs_to_the_maximum(NewtonAscent(), case, 40))
    # Quadratic convergence: two iterations from an error of 1e-4 to one of 1e-9.
    behind = values[-1] - values
    near = int(np.argmax(behind < 1e-4))
    assert behind[near + 2] < 1e-9 * abs(values[-1])


def test_newton_keeps_what_is_frozen():
    case = cases.london()
    model = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("weights",))
    fit = cases.run(NewtonAscent(), case._replace(model=model), 20)
    np.testing.assert_array_equal(fit.params.weights, case.start.weights)
    exact = cases.run(jaxem.m_step.Maximize(), case._replace(model=model), 3900)
    engine.assert_same(fit.params, exact.params, rtol=1e-7)


def gradient(case, x, weights, total):
    model = case.model

    @jax.jit
    @jax.grad
    def slope(free, x, weights):
        return model.log_likelihood(model.constrain(free), x, weights) / total

    return lambda free: slope(free, x, weights)


def test_gradient_ascent_is_optax_on_the_likelihood():
    """The same iterates as a plain loop with the derivative of the likelihood; the optimiser keeps its moments."""
    case, optimiser = cases.london(), optax.adam(0.02)
    fit = cases.run(GradientAscent(optimiser), case, 5)
    free = case.model.unconstrain(case.start)
    slope = gradient(case, case.x, case.weights, jnp.sum(case.weights))
    with jax.numpy_dtype_promotion("standard"):
        state = optimiser.init(free)
        for _ in range(5):
            updates, state = optimiser.update(jax.tree.map(jnp.negative, slope(free)), state)
            free = optax.apply_updates(free, updates)
    engine.assert_same(fit.params, case.model.constrain(free), rtol=1e-9)


def test_gradient_ascent_ends_where_em_ends():
    rule = GradientAscent(optax.adam(0.02))
    assert not jaxem.Algorithm(m_step=rule).monotone
    case = cases.london()
    engine.assert_same(cases.run(rule, case, 3900).params, case.best, rtol=1e-6, atol=1e-6)


def test_line_searches_are_given_the_likelihood():
    case = cases.london()
    algorithm = jaxem.Algorithm(m_step=GradientAscent(optax.lbfgs()))
    gain = jaxem.termination.Gain()
    fit = engine.solve(case.model, case.start, case.x, case.weights, algorithm=algorithm, tol=1e-13, termination=gain)
    assert engine.name(fit) == "converged"
    assert fit.num_steps < 100
    engine.assert_same(fit.params, case.best, rtol=1e-5, atol=1e-5)


def test_with_the_last_block_alone_it_is_minibatch_gradient_ascent():
    case, rate, rows = engine.case("poisson"), 0.05, 100
    update = jaxem.update.Stepwise(rows, power=0.0)
    algorithm = jaxem.Algorithm(update=update, m_step=GradientAscent(optax.sgd(rate)))
    one = engine.solve(case.model, case.start, case.x, algorithm=algorithm, max_steps=1)
    # The block of the first iteration is one of four; its gradient is scaled to all rows.
    free, moved = (case.model.unconstrain(params) for params in (case.start, one.params))
    block = jax.tree.map(lambda a, b: (b - a) / rate, free, moved)
    ones = jnp.ones(rows)
    errors = []
    for i in range(len(case.x) // rows):
        slope = gradient(case, case.x[i * rows : (i + 1) * rows], ones, rows)(free)
        errors.append(max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), slope, block))))
    assert min(errors) < 1e-10
    assert sorted(errors)[1] > 1e-3
    many = engine.solve(case.model, case.start, case.x, algorithm=algorithm, max_steps=800)
    best = engine.solve(case.model, case.start, case.x).objective
    assert engine.name(many) == "completed"
    assert many.objective > best - 5 > case.model.log_likelihood(case.start, case.x)


@pytest.mark.parametrize("rule", [NewtonAscent(), GradientAscent(optax.lbfgs())])
def test_lanes_in_single_precision(rule):
    cases.assert_lanes_in_single_precision(rule, cases.gaussians())
