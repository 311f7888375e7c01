"""Priors without a mode are refused by closed-form M-steps while their values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from tests.helpers import engine

X = jnp.asarray(np.random.default_rng(41).poisson(3.0, (40, 2)).astype(float))
BITS = (X > 2).astype(float)
HALF = np.array([2.0, 0.5])
WEIGHTS = jnp.array([0.4, 0.6])
RATES = jaxem.models.MixtureParams(WEIGHTS, jaxem.families.PoissonParams(jnp.array([[2.0, 3.0], [4.0, 3.5]])))
CHANCES = jaxem.models.MixtureParams(WEIGHTS, jaxem.families.BernoulliParams(jnp.array([[0.4, 0.6], [0.7, 0.3]])))


def weights_prior(prior):
    return jaxem.Mixture(jaxem.Poisson(), 2, weights_prior=prior), RATES, X


CASES = {
    "Dirichlet": (lambda below: weights_prior(jaxem.priors.Dirichlet(below)), "concentration"),
    "StickBreaking": (lambda below: weights_prior(jaxem.priors.StickBreaking(below[1:])), "concentration"),
    "Gamma": (lambda below: (jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(below, 0.1)), 2), RATES, X), "shape"),
    "Beta, a": (lambda below: (jaxem.Mixture(jaxem.Bernoulli(jaxem.priors.Beta(below, 2.0)), 2), CHANCES, BITS), "a"),
    "Beta, b": (lambda below: (jaxem.Mixture(jaxem.Bernoulli(jaxem.priors.Beta(2.0, below)), 2), CHANCES, BITS), "b"),
}


def refused(name):
    return pytest.raises(ValueError, match=f"^{name} must be at least 1 for a posterior-mode estimate")


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray], ids=["jax", "numpy"])
@pytest.mark.parametrize("name", CASES)
def test_fit(name, array):
    make, field = CASES[name]
    model, _, x = make(array(HALF))
    with refused(field):
        jaxem.fit(model, x, key=jax.random.key(0))


@pytest.mark.parametrize("name", CASES)
def test_solve(name):
    make, field = CASES[name]
    model, start, x = make(jnp.asarray(HALF))
    with refused(field):
        jaxem.solve(model, start, x)


@pytest.mark.parametrize(
    "algorithm", [jaxem.ecm("weights", "components"), jaxem.squarem(), jaxem.hard_em()], ids=["ecm", "squarem", "hard"]
)
def test_other_algorithms_with_a_closed_form(algorithm):
    model, start, x = weights_prior(jaxem.priors.Dirichlet(jnp.asarray(HALF)))
    with refused("concentration"):
        jax.eval_shape(lambda start: jaxem.solve(model, start, x, algorithm=algorithm), start)


def test_a_stream():
    model, start, x = weights_prior(jaxem.priors.Dirichlet(jnp.asarray(HALF)))
    with refused("concentration"):
        jaxem.fit_stream(model, [x], key=jax.random.key(0), init=start, total_weight=40.0)


def test_what_needs_no_mode_is_not_refused():
    prior = jaxem.priors.Dirichlet(jnp.asarray(HALF))
    frozen = jaxem.Mixture(jaxem.Poisson(), 2, weights_prior=prior, frozen=("weights",))
    conjugate = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(jnp.asarray(HALF), 0.1)), 2, weights_prior=prior)
    for model, algorithm in ((frozen, jaxem.em()), (conjugate, jaxem.vbem()), (conjugate, jaxem.gibbs(5))):
        jax.eval_shape(lambda start, model=model, rule=algorithm: jaxem.solve(model, start, X, algorithm=rule), RATES)


def test_values_that_are_known_only_when_the_program_runs_show_in_the_status():
    model, start, x = weights_prior(jaxem.priors.Dirichlet(jnp.asarray(HALF)))
    fit = engine.solve(model, start, x)
    assert engine.name(fit) == "not_finite"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.params))
