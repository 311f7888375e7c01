"""Two problems on which EM is slow, their maxima, and what every rule that climbs must do on them."""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from tests.helpers import engine, problems, published


class Case(NamedTuple):
    model: Any
    start: Any
    x: Any
    weights: Any
    best: Any  # parameters at the maximum that EM reaches from the start


@lru_cache
def london():
    problem = problems.london_times()
    share = published.LONDON_TIMES_WEIGHT
    best = jaxem.models.MixtureParams(
        jnp.array([share, 1 - share]), jaxem.families.PoissonParams(jnp.array(published.LONDON_TIMES_RATES)[:, None])
    )
    x, weights = jnp.asarray(np.asarray(problem.x, float)), jnp.asarray(problem.weights)
    return Case(jaxem.Mixture(jaxem.Poisson(), 2), engine.params(problem.start), x, weights, best)


@lru_cache
def gaussians():
    case = engine.case("spherical")
    case = Case(case.model, case.start, case.x, case.weights, None)
    return case._replace(best=run(jaxem.m_step.Maximize(), case, 3900).params)


CASES = {"london": london, "gaussians": gaussians}


def run(rule, case, steps):
    """So many iterations, whatever they gain."""
    return engine.solve(
        case.model,
        case.start,
        case.x,
        case.weights,
        algorithm=jaxem.Algorithm(m_step=rule),
        max_steps=steps,
        termination=jaxem.termination.FixedSteps(),
    )


def assert_climbs_to_the_maximum(rule, case, steps):
    fit = run(rule, case, steps)
    values = engine.history(fit)
    assert np.isfinite(values).all()
    assert np.diff(values).min() > -1e-11 * np.abs(values).max()
    assert values[-1] > values[0] + 1
    engine.assert_same(fit.params, case.best, rtol=1e-6, atol=1e-6)
    return fit


def assert_lanes_in_single_precision(rule, case, rtol=1e-5):
    """Two starts side by side in float32: each ends at the maximum, in its own number of steps."""
    single = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)  # noqa: E731
    model, x, weights = single(case.model), single(case.x), single(case.weights)

    @eqx.filter_jit
    @jax.vmap
    def both(start):
        # Gradient ascent does not promise to rise, and would run for all its steps unless told to stop.
        algorithm, gain = jaxem.Algorithm(m_step=rule), jaxem.termination.Gain()
        options = {"algorithm": algorithm, "termination": gain, "tol": 1e-7, "max_steps": 3000}
        return jaxem.solve(model, start, x, weights=weights, **options)

    starts = jax.tree.map(lambda a, b: jnp.stack([a, b]), case.start, case.best)
    fits = both(single(starts))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((fits.params, fits.objective, fits.history)))
    assert set(engine.name(fits)) <= {"converged"}
    highest = case.model.log_likelihood(case.best, case.x, case.weights)
    np.testing.assert_allclose(fits.objective, jnp.full(2, highest), rtol=rtol)
    assert fits.num_steps[0] > fits.num_steps[1]
