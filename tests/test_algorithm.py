"""The product of algorithms and models: each promise is tested once on every model that can take part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from tests.helpers import engine, oracles
from tests.helpers.engine import EVERY, LINEAR, assert_same, history, name, solve

HARD_NEWTON = jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=jaxem.m_step.Newton())


def some(*always, of=LINEAR):
    """All models, those that add least to the others in the slow tests."""
    return [pytest.param(n, marks=() if n in always else pytest.mark.slow) for n in of]


def run(algorithm, case, **options):
    return solve(case.model, case.start, case.x, algorithm=algorithm, **options)


# EM


@pytest.mark.parametrize("model", some("full", "tied", "poisson"))
def test_em_is_the_oracle_step_by_step_up_to_a_fixed_point(model):
    case = engine.case(model)
    family, x, start, _ = case.oracle
    few = run(jaxem.em(), case, max_steps=5)
    for _ in range(5):
        start = oracles.em_step(family, start, x)
    assert_same(engine.as_oracle(few.params), start)

    fit = run(jaxem.em(), case)
    assert name(fit) == "converged"
    assert np.all(np.diff(history(fit)) > 0)
    assert_fixed_point(fit.params, case)


def assert_fixed_point(params, case):
    """One exact step of EM hardly moves the parameters."""
    family, x, *_ = case.oracle
    again = oracles.em_step(family, engine.as_oracle(params), x)
    assert_same(again, engine.as_oracle(params), rtol=1e-3, atol=1e-3)


# EM gradient


@pytest.mark.parametrize("model", some("poisson", "function", of=EVERY))
def test_em_gradient_climbs_to_the_same_maximum(model):
    case, closed = engine.case(model), engine.case("poisson" if model == "function" else model)
    fit = run(jaxem.em_gradient(), case)
    assert name(fit) == "converged"
    assert np.all(np.diff(history(fit)) > -1e-9)
    assert fit.num_steps > 3
    assert_fixed_point(fit.params, case)
    by_em = run(jaxem.em(), closed)
    np.testing.assert_allclose(fit.objective, by_em.objective, atol=1e-3)
    assert_same(fit.params, by_em.params, rtol=0.05, atol=0.05)


def test_em_gradient_needs_no_closed_form():
    """Steps from enumeration and autodiff of a joint density are those from statistics."""
    closed, function = engine.case("poisson"), engine.case("function")
    a = run(jaxem.em_gradient(), closed, tol=1e-11, max_steps=6)
    b = run(jaxem.em_gradient(), function, tol=1e-11, max_steps=6)
    assert_same(a.params, b.params, rtol=1e-8)
    np.testing.assert_allclose(history(a), history(b), rtol=1e-12)


# Hard EM


def classification_em(family, params, x, steps):
    """Celeux and Govaert (1992), in NumPy."""
    values = []
    for step in range(steps + 1):
        joint = oracles.log_joint(family, params, x)
        values.append(joint.max(1).sum())
        r = (joint.argmax(1)[:, None] == np.arange(joint.shape[1])).astype(float)
        if step < steps:
            params = oracles.Mixture(r.mean(0), family.maximize(x, r))
    return params, np.array(values)


@pytest.mark.parametrize("model", some("full", "poisson"))
def test_hard_em_is_classification_em(model):
    case = engine.case(model)
    fit = run(jaxem.hard_em(), case)
    params, values = classification_em(case.oracle.family, case.oracle.start, case.oracle.x, int(fit.num_steps))
    assert name(fit) == "converged"
    assert np.all(np.diff(history(fit)) > -1e-9)
    np.testing.assert_allclose(history(fit), values, rtol=1e-10)
    assert_same(engine.as_oracle(fit.params), params, rtol=1e-8)
    # The objective is the classification likelihood; the log-likelihood is larger.
    np.testing.assert_allclose(fit.objective, values[-1], rtol=1e-10)
    np.testing.assert_allclose(fit.log_likelihood, case.model.log_likelihood(fit.params, case.x), rtol=1e-12)
    assert fit.objective < fit.log_likelihood


def test_hard_em_with_equal_fixed_spheres_is_k_means():
    case = engine.case("spherical")
    x = np.asarray(case.x)
    model = jaxem.GaussianMixture(3, "spherical", frozen=("weights", "components.covariance"))
    start = case.start._replace(
        weights=jnp.full(3, 1 / 3), components=case.start.components._replace(covariance=jnp.full(3, 0.01))
    )
    fit = solve(model, start, case.x, algorithm=jaxem.hard_em())
    centres = np.asarray(start.components.mean)
    while True:
        nearest = ((x[:, None] - centres) ** 2).sum(2).argmin(1)
        new = np.stack([x[nearest == j].mean(0) for j in range(3)])
        if np.allclose(new, centres, atol=1e-12):
            break
        centres = new
    np.testing.assert_allclose(fit.params.components.mean, centres, rtol=1e-9)


def test_hard_em_without_a_closed_form():
    """A combination that nobody named: the most probable latent, then one Newton step."""
    case = engine.case("function")
    fit = run(HARD_NEWTON, case, tol=1e-12)
    assert name(fit) == "converged"
    assert np.all(np.diff(history(fit)) > -1e-9)
    # A fixed point of classification EM: one more exact step changes nothing.
    again, values = classification_em(case.oracle.family, engine.as_oracle(fit.params), case.oracle.x, 1)
    assert_same(engine.as_oracle(fit.params), again, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.objective, values[-1], rtol=1e-9)


# Stepwise EM


@pytest.mark.parametrize("model", some("poisson"))
def test_stepwise_em_comes_close_to_the_maximum(model):
    case = engine.case(model)
    n = len(case.x)
    order = np.random.default_rng(0).permutation(n)
    best = run(jaxem.em(), case).objective + 1e-4
    fit = solve(case.model, case.start, case.x[order], algorithm=jaxem.stepwise_em(rows=50), max_steps=399)
    assert name(fit) == "completed"
    assert int(fit.num_steps) == 399
    np.testing.assert_allclose(fit.objective, case.model.log_likelihood(fit.params, case.x), rtol=1e-10)
    # A maximum likelihood estimate is itself uncertain by half a nat for each parameter.
    assert best - 0.5 * case.model.num_parameters(fit.params) < fit.objective <= best
    assert fit.objective > case.model.log_likelihood(case.start, case.x) + 1.0


def test_stepwise_em_on_all_rows_with_weight_one_is_em():
    case = engine.case("poisson")
    whole = run(jaxem.Algorithm(update=jaxem.update.Stepwise(rows=10**6, power=0.0)), case, max_steps=7)
    assert_same(whole.params, run(jaxem.em(), case, max_steps=7, tol=0.0).params)


def test_stepwise_em_depends_on_the_key_alone():
    case = engine.case("poisson")
    algorithm = jaxem.stepwise_em(rows=50)
    a, b, c = (run(algorithm, case, max_steps=20, key=jax.random.key(seed)) for seed in (1, 1, 2))
    assert_same(a.params, b.params, rtol=0, atol=0)
    assert np.abs(a.params.components.rate - c.params.components.rate).max() > 1e-6


def test_a_falling_estimate_is_not_convergence():
    """Under an algorithm that is not monotone, a decrease does not meet the default criterion."""
    case = engine.case("poisson")
    fit = run(jaxem.stepwise_em(rows=50), case, termination=jaxem.termination.Gain(), tol=0.0, max_steps=30)
    assert np.any(np.diff(history(fit)) < -1.0)
    assert name(fit) == "max_steps_reached"


# What does not go together


def test_what_a_model_lacks_is_named():
    model, start, x, *_ = engine.case("function")
    for algorithm, words in (
        (jaxem.em(), r"FunctionModel has no closed-form M-step \(rung 2.*em_gradient"),
        (jaxem.hard_em(), r"FunctionModel has no closed-form M-step \(rung 2"),
        (
            jaxem.Algorithm(update=jaxem.update.Stepwise(), m_step=jaxem.m_step.Newton()),
            "Stepwise adds up statistics, and FunctionModel has none .*rung 2.*use the full update",
        ),
    ):
        with pytest.raises(jaxem.MissingCapabilityError, match=words):
            jaxem.solve(model, start, x, algorithm=algorithm)
        # Refused when traced: no data are needed.
        with pytest.raises(jaxem.MissingCapabilityError, match=words):
            jax.eval_shape(lambda x, a=algorithm: jaxem.solve(model, start, x, algorithm=a).objective, x)


def test_names_are_values_on_the_axes():
    assert jaxem.em().monotone
    assert jaxem.hard_em().monotone
    assert jaxem.em_gradient().monotone
    assert not jaxem.stepwise_em().monotone
    assert jaxem.Algorithm(jaxem.e_step.Mode(), jaxem.update.Full(), jaxem.m_step.Maximize()) == jaxem.hard_em()
    assert isinstance(jaxem.stepwise_em().termination(), jaxem.termination.FixedSteps)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        jaxem.stepwise_em(rows=0)
