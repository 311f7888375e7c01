"""A model of rung 1 that is no mixture of families: what the contract alone makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, logsumexp
from scipy.stats import norm

import jaxem
from tests.helpers import engine
from tests.helpers.engine import name, solve
from tests.helpers.experts import START, Experts


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, 150)
    first = rng.random(150) < expit(2 * t)
    y = np.where(first, 1.5 * t, 2.0 - t) + 0.5 * rng.standard_normal(150)
    return jnp.asarray(t), jnp.asarray(y)


def joint(vector, data):
    t, y = (np.asarray(a) for a in data)
    gate = vector[0] + vector[1] * t
    mean = np.stack([vector[2] + vector[3] * t, vector[4] + vector[5] * t])
    return np.stack([np.log(expit(gate)), np.log(expit(-gate))]) + norm.logpdf(y, mean, 0.5)


def test_em_gradient_reaches_the_maximum_of_the_likelihood(data):
    model = Experts()
    fit = solve(model, START, data, algorithm=jaxem.em_gradient(), tol=1e-12, chunk_rows=64)
    assert name(fit) == "converged"
    assert np.all(np.diff(engine.history(fit)) > -1e-10)
    start = np.concatenate([START["gate"], START["line"].ravel()])
    found = optimize.minimize(
        lambda v: -logsumexp(joint(v, data), 0).sum(), start, method="BFGS", options={"gtol": 1e-5}
    )
    np.testing.assert_allclose(fit.log_likelihood, -found.fun, rtol=1e-9)
    np.testing.assert_allclose(np.concatenate([fit.params["gate"], fit.params["line"].ravel()]), found.x, atol=1e-3)


def test_what_follows_from_potentials_alone(data):
    model, vector = Experts(), np.concatenate([START["gate"], START["line"].ravel()])
    np.testing.assert_allclose(model.log_prob(START, data), logsumexp(joint(vector, data), 0), rtol=1e-12)
    np.testing.assert_allclose(
        model.log_likelihood(START, data), logsumexp(joint(vector, data)[:, :], 0).sum(), rtol=1e-12
    )
    assert model.num_parameters(START) == 6
    assert float(model.log_prior(START)) == 0.0
    assert model.bound().accurate() is None
    with pytest.raises(
        jaxem.MissingCapabilityError, match="Experts does not say how to draw observations: define `sample`"
    ):
        model.sample(jax.random.key(0), START, 3)
    with pytest.raises(jaxem.MissingCapabilityError, match="rung 2"):
        jaxem.solve(model, START, data, algorithm=jaxem.em())
