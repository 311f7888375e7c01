"""The past-information form of alpha-EM against the theory of its convergence, where the rate of EM is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from docs.examples.linkage import COUNTS, Linkage, LinkageParams
from jaxem._bound import collect
from jaxem.e_step import Alpha
from tests.helpers import engine, product

RATE = 0.1327787337455989  # of EM on the linkage multinomial, Dempster, Laird and Rubin (1977)
TARGET = (15 + np.sqrt(53809)) / 394


@jax.jit
def errors(c, start=1e-3):
    """Of 60 iterates without the safeguard, from two plain ones close to the maximum."""
    model, data, weights = Linkage(), jnp.arange(4.0), jnp.array(COUNTS)

    def turn(carry, c):
        params, past = carry

        def posterior(potentials):
            return Alpha().posterior(model, potentials, (model.natural(past), c), data, jax.random.key(0))

        stats, _ = collect(model, model.natural(params), data, weights, posterior)
        return (model.maximize(stats, params), params), params.t - TARGET

    first = LinkageParams(TARGET + jnp.asarray(start))
    steps = jnp.where(jnp.arange(60) < 2, 0.0, c)
    return jax.lax.scan(turn, (first, first), steps)[1]


def radius(c):
    """The largest root of `x^2 - rate (1 + c) x + rate c`."""
    return np.abs(np.roots([1, -RATE * (1 + c), RATE * c])).max()


@pytest.mark.parametrize("alpha", [-2.9, -1.8, -0.5, 0.3, 0.9])
def test_the_rate_is_the_predicted_one(alpha):
    c = (1 + alpha) / 2
    error = np.abs(np.asarray(errors(jnp.asarray(c))))
    used = np.flatnonzero((np.arange(60) >= 3) & (error > 1e-13))
    slope = np.polyfit(used, np.log(error[used]), 1)[0]
    np.testing.assert_allclose(slope, np.log(radius(c)), rtol=0.12)


def test_the_best_alpha_takes_the_root_of_what_is_observed():
    root = np.sqrt(1 - RATE)
    best = (1 - root) / (1 + root)
    np.testing.assert_allclose(radius(best), 1 - root, rtol=1e-6)
    assert all(radius(c) > radius(best) for c in np.linspace(-1, 1, 40))
    fast, plain = (np.abs(np.asarray(errors(jnp.asarray(c)))) for c in (best, 0.0))
    assert fast[9] < 0.1 * plain[9]


@pytest.mark.parametrize("bound", [1 / RATE, -(1 + RATE) / (2 * RATE)])
def test_it_is_stable_up_to_its_bound_and_no_further(bound):
    inside, outside = (np.abs(np.asarray(errors(jnp.asarray(s * bound), 1e-7))) for s in (0.9, 1.1))
    assert inside[-5:].max() < 0.1 * inside[:5].max()
    assert outside[-5:].max() > 2 * outside[3:8].max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["experts", "zero-inflated", "censored Weibull", "chain, driven"])
def test_potentials_that_are_not_linear(name):
    """The same end as without extrapolation, never falling, in fewer steps."""
    cell, fits = product.models()[name], {}
    assert not cell.model.linear
    for label, algorithm in {
        "plain": jaxem.em_gradient(),
        "alpha": jaxem.alpha_em(m_step=jaxem.m_step.Newton()),
    }.items():
        fits[label] = fit = engine.solve(
            cell.model, cell.start, cell.x, cell.weights, algorithm=algorithm, tol=1e-10, max_steps=1000
        )
        assert engine.name(fit) == "converged"
    values = engine.history(fits["alpha"])
    assert (np.diff(values) > -1e-9).all()
    np.testing.assert_allclose(fits["alpha"].objective, fits["plain"].objective, atol=1e-6)
    assert 4 * fits["alpha"].num_steps < 3 * fits["plain"].num_steps
