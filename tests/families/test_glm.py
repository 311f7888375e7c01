import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

import jaxem
from jaxem.testing import check_model
from tests.helpers import engine, published_regressions

rng = np.random.default_rng(31)
X = np.stack([np.ones(120), rng.standard_normal(120), 50 + 3 * rng.standard_normal(120)], 1)
B = np.array([[0.3, 0.4, 0.01], [1.2, -0.5, -0.02]])
SIZE = rng.integers(1, 9, 120).astype(float)
LABELS = np.arange(120) % 2
ETA = (X[:, None, :] * B[None]).sum(-1)[np.arange(120), LABELS]
ROWS = {
    "poisson": jaxem.Responses(X, rng.poisson(SIZE * np.exp(ETA)).astype(float), SIZE),
    "binomial": jaxem.Responses(X, rng.binomial(SIZE.astype(int), 1 / (1 + np.exp(-ETA))).astype(float), SIZE),
}
FAMILIES = {"poisson": jaxem.families.PoissonRegression, "binomial": jaxem.families.BinomialRegression}
START = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), jaxem.families.GLMParams(jnp.asarray(0.8 * B)))


def bound_to_counts(family):
    return eqx.filter_jit(lambda rows: family.bind(rows, jnp.ones(120), lambda tree: tree))(device(ROWS["poisson"]))


def device(rows):
    return jax.tree.map(jnp.asarray, rows)


def cell():
    """A mixture of Poisson regressions, for the table of every algorithm with every model."""
    return jaxem.Mixture(jaxem.families.PoissonRegression(), 2), START, device(ROWS["poisson"]), jnp.ones(120)


def log_mass(kind, b, rows):
    eta = rows.x @ b
    if kind == "poisson":
        return stats.poisson.logpmf(rows.y, rows.size * np.exp(eta))
    return stats.binom.logpmf(rows.y, rows.size, 1 / (1 + np.exp(-eta)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_log_prob(kind):
    rows = ROWS[kind]
    joint = np.stack([np.log(w) + log_mass(kind, 0.8 * b, rows) for w, b in zip((0.4, 0.6), B, strict=True)])
    model = jaxem.Mixture(FAMILIES[kind](), 2)
    np.testing.assert_allclose(model.log_prob(START, device(rows)), np.logaddexp(*joint), rtol=1e-10)


@pytest.mark.parametrize("kind", FAMILIES)
def test_several_responses_of_an_observation_multiply(kind):
    rows, family = ROWS[kind], FAMILIES[kind]()
    panel = jax.tree.map(lambda a: a.reshape(40, 3, *a.shape[1:]), rows)
    log_density = jax.jit(lambda rows: family.potentials(START.components, rows) + family.log_base(rows)[None])
    own, summed = log_density(device(rows)), log_density(device(panel))
    np.testing.assert_allclose(summed, own.reshape(2, 40, 3).sum(-1), rtol=1e-10)


def test_measurements_without_trials_do_not_count():
    rows = device(jaxem.Responses(X[:1], np.zeros(1), np.zeros(1)))
    assert (
        float(
            jaxem.Single(jaxem.families.BinomialRegression()).log_prob(jaxem.families.GLMParams(jnp.ones(3)), rows)[0]
        )
        == 0
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_slope_in_the_predictor_is_response_less_mean(kind):
    family, y, size = FAMILIES[kind](), jnp.array([0.0, 1.0, 3.0, 4.0]), jnp.array([4.0, 1.0, 5.0, 4.0])
    log_density = jax.jit(family.log_density)
    slopes = jax.jit(jax.grad(lambda e: jnp.sum(family.log_density(e, y, size))))
    for level in (-90.0, -3.0, 0.0, 3.0, 40.0):
        at = jnp.full(4, level)
        slope = slopes(at)
        np.testing.assert_allclose(slope, y - family.mean_and_slope(at, size)[0], rtol=1e-9, atol=1e-9)
        single = log_density(*(a.astype(jnp.float32) for a in (at, y, size)))
        np.testing.assert_allclose(single, log_density(at, y, size), rtol=1e-4, atol=1e-4)


def test_large_counts_in_single_precision():
    eta, y = np.log(4e6 + np.array([0.0, 900.0])), np.array([4e6 + 1500.0, 4e6 - 3000.0])
    rows = jaxem.Responses(jnp.asarray(eta[:, None], jnp.float32), jnp.asarray(y, jnp.float32))
    value = jaxem.Single(jaxem.families.PoissonRegression()).log_prob(
        jaxem.families.GLMParams(jnp.ones(1, jnp.float32)), rows
    )
    mean = np.exp(np.asarray(rows.x, float)[:, 0])
    np.testing.assert_allclose(value, stats.poisson.logpmf(y, mean), atol=0.02)


def test_prior():
    family = jaxem.families.PoissonRegression(common=(1,), prior_deviation=(np.inf, 2.0, 0.5))
    b = B.copy()
    b[1, 1] = b[0, 1]
    expected = stats.norm.logpdf(b[0, 1], 0, 2) + stats.norm.logpdf(b[:, 2], 0, 0.5).sum()
    params = jaxem.families.GLMParams(jnp.asarray(b))
    assert float(family.log_prior(params)) == pytest.approx(expected)
    bound = bound_to_counts(family)
    assert float(bound.log_prior(bound.encode(params))) == pytest.approx(expected)


def test_common_coefficients_stay_common_in_any_coordinates():
    family = jaxem.families.PoissonRegression(common=(1,))
    params = jaxem.families.GLMParams(jnp.asarray(np.stack([B[0], [B[1, 0], B[0, 1], B[1, 2]]])))
    bound = bound_to_counts(family)
    inner = bound.encode(params)
    again = bound.decode(family.constrain(family.unconstrain(inner)))
    np.testing.assert_allclose(again.coefficients, params.coefficients, rtol=1e-9)
    free = family.unconstrain(inner)
    blocks, undo = bound.blocks(free)
    engine.assert_same(undo(blocks), free)
    moved = bound.decode(family.constrain(jax.tree.map(lambda a: a + 0.3, free))).coefficients
    assert float(jnp.ptp(moved[:, 1])) < 1e-12 < float(jnp.ptp(moved[:, 0]))
    assert jaxem.Mixture(family, 2).num_parameters(jaxem.models.MixtureParams(START.weights, params)) == 6


def test_a_single_member_is_the_generalised_linear_model():
    rows = ROWS["poisson"]
    model, start = jaxem.Single(jaxem.families.PoissonRegression()), jaxem.families.GLMParams(jnp.zeros(3))
    fit = engine.solve(model, start, device(rows), tol=1e-13, algorithm=jaxem.em_gradient())
    expected = sm.GLM(rows.y, rows.x, family=sm.families.Poisson(), exposure=rows.size).fit(tol=1e-13)
    assert engine.name(fit) == "converged"
    np.testing.assert_allclose(fit.params.coefficients, expected.params, rtol=1e-8)
    assert float(fit.log_likelihood) == pytest.approx(expected.llf, abs=1e-8)


def _with(**changes):
    rows = {"x": X[:4, :2], "y": np.array([1.0, 0.0, 2.0, 1.0]), "size": np.array([2.0, 1.0, 3.0, 2.0])}
    return jaxem.Responses(**{**rows, **changes})


@pytest.mark.parametrize(
    ("family", "rows", "message"),
    [
        (jaxem.families.PoissonRegression(), X, r"must be jaxem\.Responses"),
        (
            jaxem.families.PoissonRegression(),
            _with(y=np.array([1.0, 0.5, 2.0, 1.0])),
            r"data\.y: row 1 .*0\.5.*not a count",
        ),
        (jaxem.families.PoissonRegression(), _with(y=np.array([1.0, -1.0, 2.0, 1.0])), r"data\.y: row 1 .*not a count"),
        (
            jaxem.families.PoissonRegression(),
            _with(size=np.array([1.0, 1.0, 0.0, 1.0])),
            r"data\.size: row 2 .*exposure",
        ),
        (
            jaxem.families.PoissonRegression(),
            _with(size=np.array([1.0, 1.0, 1.0, -2.0])),
            r"data\.size: row 3 .*exposure",
        ),
        (
            jaxem.families.PoissonRegression(),
            _with(y=np.array([1.0, np.nan, 2.0, 1.0])),
            r"data\.y: row 1 .*not finite",
        ),
        (jaxem.families.PoissonRegression(), _with(x=np.ones((4, 2))), r"column 1 is a linear combination"),
        (jaxem.families.PoissonRegression(), _with(x=np.eye(4)[:, :2] * [[1, 0]]), r"column 1 is zero"),
        (jaxem.families.PoissonRegression(), _with(x=X[0]), r"data\.x must have shape"),
        (jaxem.families.PoissonRegression(common=(2,)), _with(), r"common=\(2,\).*2 columns"),
        (jaxem.families.PoissonRegression(prior_deviation=(1, 2, 3)), _with(), r"prior_deviation has 3 entries"),
        (
            jaxem.families.BinomialRegression(),
            _with(y=np.array([1.0, 0.0, 4.0, 1.0])),
            r"data\.y: row 2 .*more than the number",
        ),
        (jaxem.families.BinomialRegression(), _with(size=None), r"data\.y: row 2 .*neither 0 nor 1"),
        (
            jaxem.families.BinomialRegression(),
            _with(size=np.array([2.0, 1.5, 3.0, 2.0])),
            r"data\.size: row 1 .*trials",
        ),
    ],
)
def test_refusals(family, rows, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.Single(family).check(rows, None)


def test_a_prior_deviation_is_positive():
    with pytest.raises(ValueError, match="prior_deviation must be positive"):
        jaxem.families.PoissonRegression(prior_deviation=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_contract(kind):
    rows = jax.tree.map(lambda a: jnp.asarray(a[:30]), ROWS[kind])
    check_model(jaxem.Mixture(FAMILIES[kind](), 2), START, rows)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "common"), published_regressions.BETABLOCKER)
def test_betablocker(k, common):
    model = jaxem.Mixture(jaxem.families.BinomialRegression(common=(1,) if common else ()), k)
    rows = published_regressions.betablocker()
    fit = jaxem.fit(model, rows, key=jax.random.key(1), restarts=16, tol=1e-11, max_steps=3000)
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.BETABLOCKER[k, common], abs=1e-6)
    if (k, common) == (3, False):
        assert jaxem.aic(model, fit.params, rows) == pytest.approx(332.61896, abs=1e-5)


@pytest.mark.slow
def test_artificial_counts_from_random_starts():
    x, _, counts = published_regressions.artificial()
    rows = jaxem.Responses(np.stack([np.ones(200), x], 1), counts)
    fit = jaxem.fit(
        jaxem.Mixture(jaxem.families.PoissonRegression(), 2), rows, key=jax.random.key(0), restarts=8, tol=1e-12
    )
    assert engine.name(fit) == "converged"
    assert fit.log_likelihood == pytest.approx(published_regressions.ARTIFICIAL_POISSON, abs=1e-7)
    # One maximum: every start finds it.
    np.testing.assert_allclose(fit.restarts.objective, fit.objective, atol=1e-6)


@pytest.mark.slow
def test_weights_are_copies():
    model, start, rows, _ = cell()
    counts = np.arange(120) % 3
    copies = jax.tree.map(lambda a: a[np.repeat(np.arange(120), counts)], rows)
    options = {"algorithm": jaxem.em_gradient(), "tol": 1e-12}
    weighted = engine.solve(model, start, rows, jnp.asarray(counts, float), **options)
    repeated = engine.solve(model, start, copies, **options)
    engine.assert_same(weighted.params, repeated.params, rtol=1e-5, atol=1e-6)
    assert float(weighted.log_likelihood) == pytest.approx(float(repeated.log_likelihood), abs=1e-8)


@pytest.mark.slow
def test_single_precision_agrees():
    model, start, rows, w = cell()
    single = jax.tree.map(lambda a: a.astype(jnp.float32), (start, rows, w))
    fine = engine.solve(model, start, rows, algorithm=jaxem.em_gradient(), tol=1e-10)
    coarse = engine.solve(model, *single, algorithm=jaxem.em_gradient(), tol=1e-7)
    assert engine.name(coarse) == "converged"
    assert float(coarse.log_likelihood) == pytest.approx(float(fine.log_likelihood), rel=1e-4)


@pytest.mark.slow
def test_separated_and_absent_responses_are_degenerate_and_a_prior_cures_it():
    t = np.linspace(-1.0, 1.0, 40)
    rows = jaxem.Responses(np.stack([np.ones(40), t], 1), (t > 0).astype(float))
    options = {"key": jax.random.key(0)}
    fit = jaxem.fit(jaxem.Single(jaxem.families.BinomialRegression()), rows, **options)
    assert engine.name(fit) == "degenerate_component"
    assert np.isfinite(fit.params.coefficients).all()
    fit = jaxem.fit(jaxem.Single(jaxem.families.PoissonRegression()), rows._replace(y=np.zeros(40)), **options)
    assert engine.name(fit) == "degenerate_component"
    assert np.isfinite(fit.params.coefficients).all()
    fit = jaxem.fit(jaxem.Single(jaxem.families.BinomialRegression(prior_deviation=(np.inf, 2.5))), rows, **options)
    assert engine.name(fit) == "converged"
    assert 0 < fit.params.coefficients[1] < 10


def test_what_a_design_determines_is_judged_by_rows_of_positive_weight():
    """Few of them, in one stretch of a table of which not every row is looked at."""
    n, used = 1000, slice(402, 404)
    x, y, weights = np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    x[used], y[used], weights[used] = [[1, 0], [1, 1]], [1, 4], 20
    rows = jax.tree.map(jnp.asarray, jaxem.Responses(x, y))
    bound = jaxem.Single(jaxem.families.PoissonRegression()).bind(rows, jnp.asarray(weights))
    assert float(jnp.sum(bound.kernel.frame.amount)) == pytest.approx(40)
    # The rate of a row may be 1, or so near to 0 that its logarithm is anything.
    assert not bound.degenerate(bound.encode(jaxem.families.GLMParams(jnp.array([0.0, 1.0]))))
    assert bound.degenerate(bound.encode(jaxem.families.GLMParams(jnp.array([0.0, -30.0]))))
