import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import logsumexp

import jaxem
from jaxem.testing import check_model
from tests.families import heavy
from tests.helpers import engine, published_regressions


def test_one_member_is_least_squares(dtype):
    """Weighted, at once, at an offset of the covariate of 1e4 of its standard deviation."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(80), 1e4 + rng.standard_normal(80), rng.standard_normal(80)])
    x = x.astype(np.float32).astype(float)
    y = (x @ np.array([3.0, 2.0, -1.0]) + rng.standard_normal(80)).astype(np.float32).astype(float)
    w = rng.integers(1, 4, 80).astype(float)
    rows = jax.tree.map(lambda a: jnp.asarray(a, dtype), jaxem.Responses(x, y))
    start = jaxem.families.RegressionParams(jnp.zeros(3, dtype), jnp.ones((), dtype))
    fit = engine.solve(jaxem.Single(jaxem.LinearRegression()), start, rows, jnp.asarray(w, dtype), tol=1e-6)
    assert engine.name(fit) == "converged"
    root = np.sqrt(w)
    b = np.linalg.lstsq(x * root[:, None], y * root)[0]
    variance = np.sum(w * (y - x @ b) ** 2) / w.sum()
    assert_allclose(fit.params.coefficients[1:], b[1:], rtol=2e-3 if dtype == np.float32 else 1e-7)
    assert_allclose(fit.params.variance, variance, rtol=1e-3 if dtype == np.float32 else 1e-9)
    exact = np.sum(w * stats.norm.logpdf(y, x @ b, np.sqrt(variance)))
    # Rounding of data at that offset: 0.7e-4 in the root mean square over 60 samples, however it is solved.
    assert_allclose(fit.objective, exact, rtol=3e-4 if dtype == np.float32 else 1e-10)


@pytest.fixture(scope="module")
def lines():
    case = heavy.two_lines()
    return case, engine.solve(*case, tol=1e-12)


def test_a_mixture_of_regressions_is_the_direct_maximum(lines):
    """The gradient of the observed-data likelihood, in NumPy, vanishes there."""
    case, fit = lines
    assert engine.name(fit) == "converged"
    x, y, w = (np.asarray(a) for a in (case.x.x, case.x.y, case.weights))

    def log_likelihood(theta):
        share = np.array([theta[0], 1 - theta[0]])
        b, sd = theta[1:5].reshape(2, 2), np.exp(theta[5:] / 2)
        joint = stats.norm.logpdf(y[:, None], x @ b.T, sd[None]) + np.log(share)
        return np.sum(w * logsumexp(joint, axis=1))

    weights, (b, variance) = fit.params
    theta = np.concatenate([weights[:1], np.ravel(b), np.log(variance)])
    assert_allclose(fit.objective, log_likelihood(theta), rtol=1e-12)
    steps = 1e-5 * np.eye(len(theta))
    gradient = [(log_likelihood(theta + h) - log_likelihood(theta - h)) / 2e-5 for h in steps]
    assert_allclose(gradient, 0, atol=1e-3)


@pytest.mark.slow
def test_artificial_curves_from_random_starts():
    """A line and a parabola; Leisch (2004)."""
    x, y, _ = published_regressions.artificial()
    rows = jaxem.Responses(np.stack([np.ones(200), x, x * x], 1), y)
    model = jaxem.Mixture(jaxem.LinearRegression(), 2)
    fit = jaxem.fit(model, rows, key=jax.random.key(0), restarts=8, tol=1e-15)
    assert engine.name(fit) == "converged"
    assert_allclose(fit.log_likelihood, published_regressions.ARTIFICIAL_GAUSSIAN, atol=1e-8)
    curves = np.asarray(fit.params.components.coefficients)
    assert_allclose(curves[np.argsort(curves[:, 0])], published_regressions.ARTIFICIAL_CURVES, atol=1e-6)


def test_coefficients_that_nothing_determines_stay():
    """One distinct row in a member: the fit passes through it, changed as little as possible."""
    family = jaxem.LinearRegression()
    x = jnp.array([[1.0, 1.0]] * 3)
    rows = jaxem.Responses(x, jnp.array([3.0, 4.0, 5.0]))
    params = jaxem.families.RegressionParams(jnp.array([[1.0, -1.0]]), jnp.array([2.0]))

    @jax.jit
    def step(params):
        here = family.kernel().about(params)
        _, pull = jax.vjp(lambda eta: here.potentials(eta, rows), here.natural(params))
        return here.maximize(pull(jnp.ones((1, 3)))[0], params)

    found = step(params)
    assert_allclose(found.coefficients, [[3.0, 1.0]], rtol=1e-9)
    assert_allclose(found.variance, [2 / 3], rtol=1e-9)


@pytest.mark.slow
def test_an_exact_fit_is_degenerate():
    x = np.column_stack([np.ones(12), np.arange(12.0)])
    y = np.where(np.arange(12) % 2 == 0, 2.0 * np.arange(12), 5.0 + np.sin(np.arange(12)))
    start = jaxem.models.MixtureParams(
        jnp.array([0.5, 0.5]),
        jaxem.families.RegressionParams(jnp.array([[0.1, 2.0], [5.0, 0.0]]), jnp.array([1.0, 1.0])),
    )
    rows = jaxem.Responses(jnp.asarray(x), jnp.asarray(y))
    fit = engine.solve(jaxem.Mixture(jaxem.LinearRegression(), 2), start, rows)
    assert engine.name(fit) == "degenerate_component"


def test_rows_that_are_refused():
    check = jaxem.LinearRegression().check
    x, y = np.column_stack([np.ones(6), np.arange(6.0)]), np.array([0.0, 1.0, 0.0, 2.0, 1.0, 3.0])
    check(jaxem.Responses(x, y))
    for rows, message in (
        (x, "must be jaxem.Responses"),
        (jaxem.Responses(np.column_stack([x, x[:, 0] + 2 * x[:, 1]]), y), "column 2 is a linear combination"),
        (jaxem.Responses(np.column_stack([x, np.zeros(6)]), y), "column 2 is zero throughout"),
        (jaxem.Responses(x, 3 - 2 * x[:, 1]), "without error"),
        (jaxem.Responses(x[:2], y[:2]), "2 rows for 2 coefficients and a variance; it takes at least 3"),
        (jaxem.Responses(x, y, np.ones(6)), "size is for counts"),
    ):
        with pytest.raises(jaxem.DataError, match=message):
            check(rows)
    with pytest.raises(ValueError, match="floor must lie in"):
        jaxem.LinearRegression(floor=1.0)


@pytest.mark.slow
def test_contract():
    case = heavy.two_lines()
    check_model(case.model, case.start, jax.tree.map(lambda a: a[:40], case.x))
