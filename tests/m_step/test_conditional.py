import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._paths import parameter_names
from jaxem.m_step import Conditional, Maximize, OnLikelihood
from tests.helpers import engine, oracles
from tests.m_step import cases

pytestmark = pytest.mark.slow  # compiled anew for every rule and model

SPREAD_FIRST = Conditional("components.covariance", "components.mean", "weights")


def test_the_spread_is_maximised_given_the_old_means():
    """One iteration of ECM in NumPy."""
    case = cases.gaussians()
    x, (weights, (mean, covariance)) = np.asarray(case.x), engine.as_oracle(case.start)
    r = oracles.posterior(oracles.Gaussian("spherical"), oracles.Mixture(weights, (mean, covariance)), x)
    counts = r.sum(0)
    squares = ((x[:, None] - mean) ** 2).sum(2)
    fit = cases.run(SPREAD_FIRST, case, 1)
    np.testing.assert_allclose(fit.params.components.covariance, (r * squares).sum(0) / counts / 2, rtol=1e-9)
    np.testing.assert_allclose(fit.params.components.mean, r.T @ x / counts[:, None], rtol=1e-9)
    np.testing.assert_allclose(fit.params.weights, counts / len(x), rtol=1e-9)


def test_in_the_order_of_the_closed_form_it_is_em():
    case = cases.gaussians()
    ecm = Conditional(("weights", "components.mean"), "components.covariance")
    engine.assert_same(cases.run(ecm, case, 5).params, cases.run(Maximize(), case, 5).params, rtol=1e-10)


def test_ecm_ends_where_em_ends():
    cases.assert_climbs_to_the_maximum(SPREAD_FIRST, cases.gaussians(), 3900)


@pytest.mark.parametrize("name", cases.CASES)
def test_ecme_ends_where_em_ends(name):
    case = cases.CASES[name]()
    fit = cases.assert_climbs_to_the_maximum(Conditional("weights", OnLikelihood("components")), case, 2600)
    # The second block is at the maximum of the likelihood given the first after every iteration: it gains more.
    em = cases.run(Maximize(), case, 1)
    assert engine.history(fit)[1] > engine.history(em)[1]


def test_a_block_on_the_likelihood_is_maximised():
    """Enough Newton steps in one iteration: the derivative in that block vanishes, while the others have not moved."""
    case = cases.london()
    model = jaxem.Mixture(jaxem.Poisson(), 2, frozen=("weights",))
    rule = Conditional(OnLikelihood("components.rate", steps=12))
    fit = cases.run(rule, case._replace(model=model), 1)
    np.testing.assert_array_equal(fit.params.weights, case.start.weights)

    def value(rate):
        params = jaxem.models.MixtureParams(fit.params.weights, jaxem.families.PoissonParams(rate))
        return model.log_likelihood(params, case.x, case.weights)

    np.testing.assert_allclose(jax.grad(value)(fit.params.components.rate), jnp.zeros((2, 1)), atol=1e-8)


def test_a_cycle_moves_one_block_at_a_time():
    case = cases.london()
    rule = Conditional("weights", "components.rate", cycle=True)
    one, two = cases.run(rule, case, 1).params, cases.run(rule, case, 2).params
    np.testing.assert_array_equal(one.components.rate, case.start.components.rate)
    assert not np.allclose(one.weights, case.start.weights)
    np.testing.assert_array_equal(two.weights, one.weights)
    assert not np.allclose(two.components.rate, one.components.rate)
    # The second block has an E-step of its own: the rates are those of an EM step from there.
    fresh = cases.run(Maximize(), case._replace(start=one), 1).params
    np.testing.assert_allclose(two.components.rate, fresh.components.rate, rtol=1e-12)
    late = Conditional(OnLikelihood("weights"), "components.rate", cycle=True)
    cases.assert_climbs_to_the_maximum(late, case, 3990)


def test_lanes_in_single_precision():
    cases.assert_lanes_in_single_precision(Conditional("weights", OnLikelihood("components")), cases.gaussians())


def test_without_a_closed_form_all_blocks_are_on_the_likelihood():
    case = engine.case("function")
    rule = Conditional(OnLikelihood("components"), OnLikelihood("weights"))
    fit = engine.solve(case.model, case.start, case.x, algorithm=jaxem.Algorithm(m_step=rule), tol=1e-12)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-9
    closed = engine.case("poisson")
    best = engine.solve(closed.model, closed.start, closed.x, tol=1e-12)
    engine.assert_same(fit.params, best.params, rtol=1e-4, atol=1e-4)


def refused(rule, error, words, model=None, **axes):
    case = cases.london()
    algorithm = jaxem.Algorithm(m_step=rule, **axes)
    with pytest.raises(error, match=words):
        jaxem.solve(model or case.model, case.start, case.x, weights=case.weights, algorithm=algorithm)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="blocks on Q must come before blocks on the log-likelihood"):
        Conditional(OnLikelihood("weights"), "components")
    with pytest.raises(ValueError, match="at least one block"):
        Conditional()
    refused(Conditional("weights"), ValueError, r"'components.rate' is in 0 blocks; put it in exactly one")
    refused(Conditional("weights", ("components", "weights")), ValueError, "'weights' is in 2 blocks")
    refused(Conditional("weights", "rates"), ValueError, "unknown parameter 'rates'; choose from weights, components.")
    refused(
        Conditional("weights", OnLikelihood("components")),
        jaxem.MissingCapabilityError,
        "not the objective under the E rule Mode",
        e_step=jaxem.e_step.Mode(),
    )
    refused(
        Conditional("weights", "components"),
        jaxem.MissingCapabilityError,
        "FunctionModel has no closed-form M-step .* OnLikelihood",
        model=engine.function_model(2, None),
    )


def test_a_model_that_cannot_be_frozen_is_refused():
    from tests.helpers.experts import START, Experts

    data = (jnp.zeros(3), jnp.zeros(3))
    rule = Conditional(OnLikelihood("gate"), OnLikelihood("line"))
    with pytest.raises(jaxem.MissingCapabilityError, match=r"Experts does not say .* give it a field `frozen`"):
        jaxem.solve(Experts(), START, data, algorithm=jaxem.Algorithm(m_step=rule))


def test_names_follow_the_tree():
    case = engine.case("full")
    assert parameter_names(case.start) == ("weights", "components.mean", "components.covariance")
    model = case.model.bound().freeze(("weights",)).freeze(("components.mean", "weights"))
    assert model.frozen == ("weights", "components.mean")
