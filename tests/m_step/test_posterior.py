import equinox as eqx
import jax
import numpy as np
import pytest

import jaxem
from jaxem.m_step import Maximize, Posterior
from tests.helpers import engine


@pytest.mark.slow
def test_the_posterior_is_the_m_step_of_variational_bayes():
    case = engine.case("poisson")
    model = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(0.5, 0.1)), 3, jaxem.priors.Dirichlet(0.5))
    variational = Posterior().lift(model)
    assert variational == jaxem.models.Variational(model)
    assert Posterior().lift(variational) is variational
    start = eqx.filter_jit(variational.lift)(case.start, case.x, case.weights)
    fits = [
        engine.solve(variational, start, case.x, algorithm=jaxem.Algorithm(m_step=m)) for m in (Maximize(), Posterior())
    ]
    assert engine.name(fits[0]) == engine.name(fits[1]) == "converged"
    engine.assert_same(fits[0].params, fits[1].params, rtol=0, atol=0)
    assert np.diff(engine.history(fits[1])).min() > -1e-9
    assert Maximize().lift(model) is model


def test_what_a_model_lacks_is_named():
    case = engine.case("poisson")
    with_prior = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(0.5, 0.1)), 3, jaxem.priors.Dirichlet(0.5))
    for model, words in (
        (engine.case("function").model, "FunctionModel has no conjugate prior .rung 3"),
        (case.model, "no prior on its weights"),
    ):
        with pytest.raises(jaxem.MissingCapabilityError, match=words):
            Posterior().lift(model)
    with pytest.raises(jaxem.MissingCapabilityError, match=r"not posteriors: run on jaxem.models.Variational\(model\)"):
        Posterior().init(with_prior.bound(), case.start)
    assert jax.tree.leaves(Posterior().init(jaxem.models.Variational(with_prior).bound(), case.start)) == []
