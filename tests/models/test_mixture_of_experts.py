import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

import jaxem
from jaxem.testing import check_model
from tests.helpers import engine, published_regressions

rng = np.random.default_rng(32)
X = np.stack([np.ones(90), rng.standard_normal(90)], 1)
GATE = np.array([[0.3, 1.5], [-0.4, -0.8]])
B = np.array([[0.2, 0.5], [1.5, -0.3], [2.5, 0.1]])
_chosen = [rng.choice(3, p=np.exp(log_softmax([*row, 0.0]))) for row in X @ GATE.T]
ROWS = jaxem.Responses(jnp.asarray(X), jnp.asarray(rng.poisson(np.exp((X * B[_chosen]).sum(1))).astype(float)))
PARAMS = jaxem.models.MixtureOfExpertsParams(
    jnp.asarray(0.7 * GATE), jaxem.families.GLMParams(jnp.asarray(0.9 * B + 0.1))
)
MODEL = jaxem.MixtureOfExperts(jaxem.families.PoissonRegression(), 3)


def cell():
    """For the table of every algorithm with every model."""
    return MODEL, PARAMS, ROWS, jnp.ones(90)


def zero_inflated(gate, b, x, y):
    """Log mass of a zero-inflated Poisson regression."""
    logit, mean = x @ gate, np.exp(x @ b)
    p = 1 / (1 + np.exp(-logit))
    return np.log(p * (y == 0) + (1 - p) * stats.poisson.pmf(y, mean))


def test_log_prob_and_gates():
    weights = log_softmax(np.concatenate([0.7 * X @ GATE.T, np.zeros((90, 1))], 1), axis=1)
    own = np.stack([stats.poisson.logpmf(ROWS.y, np.exp(X @ b)) for b in 0.9 * B + 0.1], 1)
    np.testing.assert_allclose(MODEL.log_prob(PARAMS, ROWS), np.logaddexp.reduce(weights + own, 1), rtol=1e-10)
    np.testing.assert_allclose(MODEL.gates(PARAMS, ROWS), np.exp(weights), rtol=1e-10)
    assert MODEL.num_parameters(PARAMS) == 10


def test_a_constant_gate_is_a_mixture():
    mixture = jaxem.Mixture(jaxem.families.PoissonRegression(), 3)
    gate = jnp.array([[0.4], [-0.3]])
    weights = jax.nn.softmax(jnp.array([0.4, -0.3, 0.0]))
    expected = mixture.log_prob(jaxem.models.MixtureParams(weights, PARAMS.experts), ROWS)
    gated = jaxem.models.Gated(ROWS, jnp.ones((90, 1)))
    np.testing.assert_allclose(MODEL.log_prob(PARAMS._replace(gate=gate), gated), expected, rtol=1e-12)


def test_known_experts():
    labels = jnp.asarray(np.where(np.arange(90) < 30, _chosen, -1), jnp.int32)
    posterior = MODEL.posterior(PARAMS, jaxem.Labelled(ROWS, labels))
    np.testing.assert_allclose(posterior[:30], np.eye(3)[_chosen[:30]])
    np.testing.assert_allclose(posterior[30:], MODEL.posterior(PARAMS, ROWS)[30:])


def test_gate_prior():
    model = jaxem.MixtureOfExperts(jaxem.families.PoissonRegression(), 3, gate_deviation=1.7)
    covariance = 1.7**2 * np.linalg.inv(np.eye(2) - 1 / 3)
    expected = sum(stats.multivariate_normal.logpdf(c, [0, 0], covariance) for c in 0.7 * GATE.T)
    assert float(model.log_prior(PARAMS)) == pytest.approx(expected)
    bound = eqx.filter_jit(model.bind)(ROWS, jnp.ones(90))
    assert float(bound.log_prior(bound.encode(PARAMS))) == pytest.approx(expected)


def test_binding_changes_coordinates_alone():
    bound = eqx.filter_jit(MODEL.bind)(ROWS, jnp.ones(90))
    inner = bound.encode(PARAMS)
    engine.assert_same(bound.decode(inner), PARAMS)
    np.testing.assert_allclose(engine.log_prob(bound, inner, ROWS), MODEL.log_prob(PARAMS, ROWS), rtol=1e-9)
    blocks, undo = bound.blocks(bound.unconstrain(inner))
    engine.assert_same(bound.constrain(undo(blocks)), inner)


def test_unlike_experts():
    model, y = jaxem.models.ZeroInflatedPoisson(), np.asarray(ROWS.y)
    params = jaxem.models.MixtureOfExpertsParams(
        jnp.asarray(GATE[:1]), {"zero": (), "count": jaxem.families.GLMParams(jnp.asarray(B[1:2]))}
    )
    expected = zero_inflated(GATE[0], B[1], X, y)
    np.testing.assert_allclose(model.log_prob(params, ROWS), expected, rtol=1e-10)
    assert (np.asarray(model.predict(params, ROWS))[y > 0] == 1).all()
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(model.log_prob(p, ROWS))))(params)
    step, moved = 1e-6, GATE[0] + np.array([0.0, 1e-6])
    slope = (zero_inflated(moved, B[1], X, y).sum() - expected.sum()) / step
    assert float(gradient.gate[0, 1]) == pytest.approx(slope, rel=1e-4)


@pytest.mark.slow
def test_unlike_members_of_linear_families_have_a_closed_form():
    model = jaxem.Mixture(jaxem.families.OneOf(zero=jaxem.families.PointMass(0.0), count=jaxem.Poisson()), 2)
    assert model.linear
    assert not jaxem.models.ZeroInflatedPoisson().linear
    x = jnp.array([[0.0], [0.0], [0.0], [0.0], [3.0], [5.0], [4.0]])
    start = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]), {"zero": (), "count": jaxem.families.PoissonParams(jnp.array([[2.0]]))}
    )
    fit = engine.solve(model, start, x, algorithm=jaxem.em(), tol=1e-12)
    rate, share = float(fit.params.components["count"].rate[0, 0]), float(fit.params.weights[1])
    # Moments of a zero-inflated count: the mean of those above zero, and the share of these.
    assert rate / (1 - np.exp(-rate)) == pytest.approx(4.0, rel=1e-5)
    assert share * (1 - np.exp(-rate)) == pytest.approx(3 / 7, rel=1e-5)
    expected = np.where(np.asarray(x)[:, 0] == 0, 1 - share, 0) + share * stats.poisson.pmf(np.asarray(x)[:, 0], rate)
    assert float(fit.log_likelihood) == pytest.approx(np.log(expected).sum(), rel=1e-9)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (MODEL, np.ones((4, 2)), "no covariates"),
        (MODEL, jaxem.models.Gated(ROWS, np.ones((90, 2))), r"data\.gate: column 1 is a linear combination"),
        (MODEL, jaxem.Responses(X[:2], np.ones(2)), "2 rows with positive weight"),
        (
            jaxem.MixtureOfExperts(jaxem.families.OneOf(a=jaxem.families.PoissonRegression()), 2),
            ROWS,
            "OneOf has 1 members",
        ),
    ],
)
def test_refusals(model, data, message):
    with pytest.raises(jaxem.DataError, match=message):
        model.check(jax.tree.map(np.asarray, data), None)


def test_there_is_no_conjugate_prior():
    with pytest.raises(jaxem.MissingCapabilityError, match="gate_deviation"):
        engine.solve(MODEL, PARAMS, ROWS, algorithm=jaxem.vbem())


@pytest.mark.slow
def test_contract():
    check_model(MODEL, PARAMS, jax.tree.map(lambda a: a[:30], ROWS))


@pytest.mark.slow
def test_patents():
    data = published_regressions.patents()
    options = {"key": jax.random.key(0), "restarts": 16, "tol": 1e-10, "max_steps": 3000}
    fit = jaxem.fit(MODEL, data, **options)
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.PATENTS, abs=1e-6)
    assert jaxem.aic(MODEL, fit.params, data) == pytest.approx(415.35004, abs=1e-5)
    assert jaxem.bic(MODEL, fit.params, data) == pytest.approx(437.83500, abs=1e-5)


@pytest.mark.slow
def test_patents_with_a_common_slope():
    model = jaxem.MixtureOfExperts(jaxem.families.PoissonRegression(common=(1,)), 3)
    data = published_regressions.patents()
    fit = jaxem.fit(model, data, key=jax.random.key(0), restarts=16, tol=1e-10, max_steps=3000)
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.PATENTS_COMMON_SLOPE, abs=1e-6)
    assert np.ptp(fit.params.experts.coefficients[:, 1]) < 1e-9
    # What the vignette of flexmix prints is a local maximum.
    assert np.any(np.abs(fit.restarts.objective - published_regressions.PATENTS_LOCAL_MAXIMUM) < 6e-4)


@pytest.mark.slow
def test_articles():
    data = published_regressions.articles()
    plain = jaxem.fit(jaxem.Single(jaxem.families.PoissonRegression()), data, key=jax.random.key(0), tol=1e-12)
    assert plain.log_likelihood == pytest.approx(published_regressions.ARTICLES_NOT_INFLATED, abs=1e-7)
    fit = jaxem.fit(jaxem.models.ZeroInflatedPoisson(), data, key=jax.random.key(0), tol=1e-12)
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.ARTICLES, abs=1e-7)
    np.testing.assert_allclose(fit.params.gate[0], published_regressions.ARTICLES_ZERO, atol=1.5e-5)
    count = fit.params.experts["count"].coefficients[0]
    np.testing.assert_allclose(count, published_regressions.ARTICLES_COUNT, atol=1.5e-5)


@pytest.mark.slow
def test_a_gate_that_separates_is_degenerate_and_a_prior_cures_it():
    t = np.linspace(-2.0, 2.0, 80)
    y = np.where(t < 0, 40.0, 2.0) + np.arange(80) % 2
    rows = jaxem.Responses(np.stack([np.ones(80), t], 1), y)
    for deviation, status in ((None, "degenerate_component"), (3.0, "converged")):
        model = jaxem.MixtureOfExperts(jaxem.families.PoissonRegression(), 2, gate_deviation=deviation)
        fit = jaxem.fit(model, rows, key=jax.random.key(0), restarts=4)
        assert engine.name(fit) == status
        assert np.isfinite(fit.params.gate).all()
        assert (
            np.asarray(model.predict(fit.params, rows))[:40] != np.asarray(model.predict(fit.params, rows))[-1]
        ).all()


@pytest.mark.parametrize("covariates", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("kind", ["Poisson", pytest.param("NegativeBinomial", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counts_that_are_all_zero(kind, covariates, dtype):
    """The supremum is log-likelihood 0, in the limit: coefficients stay finite, and the status says so."""
    x = np.stack([np.ones(30), np.linspace(-1, 1, 30)], 1)[:, :covariates].astype(dtype)
    model = getattr(jaxem.models, f"ZeroInflated{kind}")()
    fit = jaxem.fit(model, jaxem.Responses(x, np.zeros(30, dtype)), key=jax.random.key(0))
    assert jaxem.status_name(fit.status) == "degenerate_component"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit.params))
    assert abs(float(fit.log_likelihood)) < 1e-2
