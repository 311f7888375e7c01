import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxem
from tests.families import heavy
from tests.helpers import engine


@pytest.fixture(scope="module")
def fits():
    case = heavy.multivariate()
    algorithms = {"em": jaxem.em(), "px_em": jaxem.px_em()}
    return {
        name: engine.solve(case.model, case.start, case.x, tol=1e-12, algorithm=algorithm)
        for name, algorithm in algorithms.items()
    }


def test_the_maximum_is_that_of_em_in_fewer_iterations(fits):
    em, px = fits["em"], fits["px_em"]
    assert engine.name(em) == engine.name(px) == "converged"
    assert_allclose(px.objective, em.objective, rtol=1e-11)
    for a, b in zip(jax.tree.leaves(px.params), jax.tree.leaves(em.params), strict=True):
        assert_allclose(a, b, rtol=2e-4, atol=1e-5)
    assert int(px.num_steps) < 0.8 * int(em.num_steps)


def test_the_likelihood_never_falls(fits):
    values = engine.history(fits["px_em"])
    assert (np.diff(values) >= -1e-12 * np.abs(values[1:])).all()


def refused(model, start, x, message):
    with pytest.raises(jaxem.MissingCapabilityError, match=message):
        jax.eval_shape(lambda start: jaxem.solve(model, start, x, algorithm=jaxem.px_em()).objective, start)


def test_models_that_cannot_be_expanded():
    start = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), jaxem.families.PoissonParams(jnp.array([[1.0], [2.0]])))
    refused(jaxem.Mixture(jaxem.Poisson(), 2), start, jnp.ones((3, 1)), "Poisson does not say how to expand")
    model, start, x, _, _ = engine.case("function")
    refused(model, start, x, "no closed-form M-step")


def test_a_prior_is_refused():
    model = jaxem.Single(jaxem.StudentT(prior=jaxem.priors.NormalInverseWishart(0.0, 0.1, jnp.eye(2), 4.0)))
    case = heavy.multivariate()
    refused(model, case.start, case.x, "StudentT has a prior, which the parameter expansion")
