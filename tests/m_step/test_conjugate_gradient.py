import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.m_step import ConjugateGradient, Maximize, Newton
from tests.helpers import engine
from tests.m_step import cases


@pytest.mark.slow
@pytest.mark.parametrize(("name", "saved"), [("london", 10), ("gaussians", 3)])
def test_it_ends_where_em_ends_in_a_fraction_of_the_iterations(name, saved):
    case = cases.CASES[name]()
    fit = cases.assert_climbs_to_the_maximum(ConjugateGradient(), case, 200)
    em = engine.history(cases.run(Maximize(), case, 3900))
    # Iterations until within 1e-6 of the highest value.
    mine, theirs = (int(np.argmax(h > em[-1] - 1e-6)) for h in (engine.history(fit), em))
    assert mine * saved < theirs


@pytest.mark.slow
def test_an_iteration_gains_no_less_than_em():
    case = cases.london()
    state = case
    for _ in range(5):
        fit, em = (engine.history(cases.run(rule, state, 1))[1] for rule in (ConjugateGradient(), Maximize()))
        assert fit >= em - 1e-10
        state = state._replace(start=cases.run(ConjugateGradient(), state, 1).params)


def test_it_is_the_recursion_of_hestenes_and_stiefel():
    """Three iterations against a plain loop with the derivative of the likelihood itself."""
    case = cases.london()
    model = case.model
    free, unravel = jax.flatten_util.ravel_pytree(model.unconstrain(case.start))

    def em_step(free):
        params = cases.run(Maximize(), case._replace(start=model.constrain(unravel(jnp.asarray(free)))), 1).params
        return np.asarray(jax.flatten_util.ravel_pytree(model.unconstrain(params))[0]) - free

    @jax.jit
    def value(u):
        return model.log_likelihood(model.constrain(unravel(u)), case.x, case.weights)

    slope, free, last, used, turn, steps = jax.jit(jax.grad(value)), np.asarray(free), None, 0, 0, 12
    for _ in range(steps):
        em, gradient = em_step(free), np.asarray(slope(free))
        direction = em
        if turn % 3:
            change = gradient - last[0]
            conjugate = em - (em @ change) / (last[1] @ change) * last[1]
            direction = conjugate if conjugate @ gradient > 0 else em
        tried = [em, *(2.0**j * direction for j in range(-2, 6))]
        best = int(np.argmax([value(free + step) for step in tried]))
        turn = 1 if best == 0 or direction is em else turn + 1
        used += best > 0 and direction is not em
        free, last = free + tried[best], (gradient, direction if best else em)
    assert used > 2
    fit = cases.run(ConjugateGradient(), case, steps)
    found = jax.flatten_util.ravel_pytree(model.unconstrain(fit.params))[0]
    np.testing.assert_allclose(found, free, rtol=1e-6)


@pytest.mark.slow
def test_it_accelerates_em_gradient():
    case = cases.london()
    case = case._replace(model=engine.function_model(2, None))
    fit = cases.assert_climbs_to_the_maximum(ConjugateGradient(Newton()), case, 200)
    plain = engine.history(cases.run(Newton(), case, 200))
    assert engine.history(fit)[60] > plain[-1] + 1e-4


@pytest.mark.slow
def test_lanes_in_single_precision():
    cases.assert_lanes_in_single_precision(ConjugateGradient(), cases.gaussians())


def test_what_cannot_be_is_refused():
    class Falling(jaxem.m_step.AbstractMStep):
        ascends = False

        def __call__(self, surrogate, params, state, key):
            return params, state

    with pytest.raises(ValueError, match="a rule that never lowers Q"):
        ConjugateGradient(Falling())
    case = cases.london()
    algorithm = jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=ConjugateGradient())
    with pytest.raises(jaxem.MissingCapabilityError, match="not the objective under the E rule Mode"):
        jaxem.solve(case.model, case.start, case.x, weights=case.weights, algorithm=algorithm)
