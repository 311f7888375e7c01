import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem.m_step import Draw
from jaxem.termination import FixedSteps
from tests.helpers import engine

GIBBS = jaxem.Algorithm(m_step=Draw())


def test_a_single_component_is_drawn_from_its_exact_posterior():
    x = jnp.asarray([[3.0], [0.0], [2.0], [4.0]])
    model = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(1.5, 0.5)), 1, jaxem.priors.Dirichlet(1.0))
    start = jaxem.models.MixtureParams(jnp.ones(1), jaxem.families.PoissonParams(jnp.ones((1, 1))))

    @jax.jit
    @jax.vmap
    def run(key):
        return jaxem.solve(model, start, x, algorithm=GIBBS, max_steps=1, termination=FixedSteps(), key=key).params

    params = run(jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(params.weights, 1, rtol=1e-12)
    drawn = np.asarray(params.components.rate).ravel()
    assert stats.kstest(drawn, stats.gamma(10.5, scale=1 / 4.5).cdf).pvalue > 1e-3


@pytest.mark.slow
def test_a_chain_moves_and_depends_on_the_key_alone():
    case = engine.case("full")
    prior = jaxem.priors.NormalInverseWishart(np.zeros(2), 0.1, np.eye(2), 4.0)
    model = jaxem.GaussianMixture(3, prior=prior, weights_prior=jaxem.priors.StickBreaking(1.0))
    runs = [
        engine.solve(
            model,
            case.start,
            case.x,
            algorithm=GIBBS,
            termination=FixedSteps(),
            max_steps=30,
            key=jax.random.key(key),
        )
        for key in (1, 1, 2)
    ]
    engine.assert_same(runs[0].params, runs[1].params, rtol=0, atol=0)
    assert np.abs(runs[0].params.weights - runs[2].params.weights).max() > 1e-6
    assert np.isfinite(engine.history(runs[0])).all()
    # Up and down, around parameters that are better than the start.
    steps = np.diff(engine.history(runs[0]))
    assert steps.min() < 0 < steps.max()
    assert not GIBBS.monotone
    assert engine.name(runs[0]) == "completed"


def test_what_a_model_lacks_is_named():
    case = engine.case("full")
    with pytest.raises(jaxem.MissingCapabilityError, match="no prior on its weights"):
        Draw().init(case.model, case.start)
    with pytest.raises(
        jaxem.MissingCapabilityError, match=r"FunctionModel has no conjugate prior .*Gibbs sampling needs"
    ):
        Draw().init(engine.case("function").model, case.start)
