import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats
from scipy.special import digamma

import jaxem
from jaxem.families.kernels.gaussian import GaussianNatural
from jaxem.testing import check_model
from tests.families import heavy
from tests.helpers import engine

# Lange, Little and Taylor (1989), Table 1, with the constant that they drop; digits of direct maximisation.
STACKLOSS = {
    8.0: -51.961909,
    4.0: -51.423337,
    3.0: -51.068110,
    2.0: -50.314783,
    1.1: -49.568784,
    1.0: -49.581020,
    0.5: -50.544935,
}


def as_type(tree, dtype):
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a), dtype), tree)


def test_density(dtype):
    case = heavy.mixture()
    found = case.model.log_prob(as_type(case.start, dtype), as_type(case.x, dtype))
    weights, (mean, covariance, dof) = jax.tree.map(np.asarray, case.start)
    parts = [stats.multivariate_t.logpdf(np.asarray(case.x), *part) for part in zip(mean, covariance, dof, strict=True)]
    expected = np.logaddexp(*(np.log(w) + part for w, part in zip(weights, parts, strict=True)))
    assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dof", [1e-2, 1e4, 1e6])
def test_density_at_the_ends(dof, dtype):
    """As accurate at a million degrees of freedom as at a few; single precision has none of the terms that cancel."""
    x = np.array([[0.0], [0.5], [-3.0], [40.0]])
    params = jaxem.families.StudentTParams(jnp.array([0.2]), jnp.array([[1.3]]), jnp.asarray(dof))
    found = jaxem.models.MultivariateT().log_prob(as_type(params, dtype), jnp.asarray(x, dtype))
    expected = stats.t.logpdf(x[:, 0], dof, 0.2, np.sqrt(1.3))
    assert_allclose(found, expected, rtol=2e-6 if dtype == np.float32 else 1e-8)


@pytest.fixture(scope="module")
def regressions():
    case = heavy.stackloss()
    model = jaxem.Single(jaxem.families.TRegression(), frozen=("degrees_of_freedom",))
    return {
        dof: engine.solve(model, case.start._replace(degrees_of_freedom=jnp.asarray(dof)), case.x, tol=1e-12)
        for dof in STACKLOSS
    }


@pytest.mark.parametrize("dof", STACKLOSS)
def test_stackloss(regressions, dof):
    fit = regressions[dof]
    assert engine.name(fit) == "converged"
    assert_allclose(fit.objective, STACKLOSS[dof], atol=1e-6)
    assert_allclose(fit.params.degrees_of_freedom, dof)


def test_stackloss_with_normal_errors():
    case = heavy.stackloss()
    start = jaxem.families.RegressionParams(case.start.coefficients, case.start.variance)
    fit = engine.solve(jaxem.Single(jaxem.LinearRegression()), start, case.x, tol=1e-12)
    assert_allclose(fit.objective, -52.287796, atol=1e-6)
    limit = case.start._replace(degrees_of_freedom=jnp.asarray(1e6))
    assert_allclose(jnp.sum(case.model.log_prob(limit, case.x)), fit.objective, atol=1e-4)


@pytest.mark.slow
def test_few_degrees_of_freedom_have_several_modes(regressions):
    """-51.5212 is a second mode at half a degree of freedom; starts are regressions through four of the rows."""
    case = heavy.stackloss()
    x, y, rng = np.asarray(case.x.x), np.asarray(case.x.y), np.random.default_rng(0)
    rows = [rng.choice(len(y), 4, replace=False) for _ in range(64)]
    lines = np.array([np.linalg.lstsq(x[own], y[own])[0] for own in rows])
    starts = jaxem.families.TRegressionParams(lines, np.full(64, 1.0), np.full(64, 0.5))
    model = jaxem.Single(jaxem.families.TRegression(), frozen=("degrees_of_freedom",))
    fit = jaxem.fit(model, case.x, key=jax.random.key(0), init=starts, tol=1e-12, max_steps=20_000)
    assert_allclose(fit.log_likelihood, regressions[0.5].objective, atol=1e-6)
    assert np.sum(np.abs(fit.restarts.objective + 51.5212) < 5e-5) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["em", "px_em", "ecm", "ecme"])
def test_stackloss_with_free_degrees_of_freedom(name):
    """1.0767012, -49.567677 by direct maximisation."""
    algorithm = {
        "em": jaxem.em(),
        "px_em": jaxem.px_em(),
        "ecm": jaxem.ecm("coefficients", "variance", "degrees_of_freedom"),
        "ecme": jaxem.ecme(("coefficients", "variance"), "degrees_of_freedom"),
    }[name]
    fit = engine.solve(*heavy.stackloss(), tol=1e-13, algorithm=algorithm)
    assert_allclose(fit.objective, -49.567677, atol=1e-6)
    assert_allclose(fit.params.degrees_of_freedom, 1.0767012, rtol=1e-5)
    assert_allclose(fit.params.coefficients, [-38.4827, 0.8520, 0.4902, -0.0706], atol=1e-4)


@pytest.mark.slow
def test_free_degrees_of_freedom_are_those_of_scipy():
    case = heavy.multivariate()
    fit = engine.solve(case.model, case.start, case.x, tol=1e-12)

    def negative(theta):
        root = np.array([[np.exp(theta[2]), 0], [theta[3], np.exp(theta[4])]])
        return -stats.multivariate_t.logpdf(case.x, theta[:2], root @ root.T, np.exp(theta[5])).sum()

    best = optimize.minimize(negative, [3, -1, 0, 0, 0.5, 0.5], method="BFGS", options={"gtol": 1e-6})
    assert_allclose(fit.objective, -best.fun, rtol=1e-10)
    assert_allclose(fit.params.degrees_of_freedom, np.exp(best.x[5]), rtol=1e-4)
    assert_allclose(fit.params.mean, best.x[:2], rtol=1e-4)


def test_given_degrees_of_freedom_are_no_parameters():
    case = heavy.multivariate()
    model = jaxem.models.MultivariateT(degrees_of_freedom=3.0)
    assert model.num_parameters(case.start) == case.model.num_parameters(case.start) - 1
    there = model.constrain(model.unconstrain(case.start))
    assert_allclose(there.degrees_of_freedom, 3.0)
    scores = model.log_prob(case.start, case.x)
    assert_allclose(scores, stats.multivariate_t.logpdf(case.x, [0, 0], 5 * np.eye(2), 3.0), rtol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_the_equation_of_the_degrees_of_freedom(shared):
    """`log(nu / 2) - digamma(nu / 2)` is what `u - log u - 1` has for a mean: of each member, or of all."""
    counts, excess = np.array([30.0, 10.0]), np.array([-6.0, -9.0])
    family = jaxem.StudentT(shared_degrees_of_freedom=shared)
    start = jaxem.families.StudentTParams(
        jnp.zeros((2, 1)), jnp.ones((2, 1, 1)), jnp.full((() if shared else (2,)), 5.0)
    )
    zero = family.natural(start)
    scatter = GaussianNatural(*(jnp.asarray(counts),) * 2, jnp.zeros((2, 1)), jnp.asarray(counts)[:, None, None])
    sums = zero._replace(constant=jnp.asarray(counts), shape=jnp.asarray(excess), normal=scatter)
    found = jax.jit(family.maximize)(sums, start).degrees_of_freedom / 2
    expected = excess.sum() / counts.sum() if shared else excess / counts
    assert_allclose(digamma(found) - np.log(found), expected, rtol=1e-12)


def test_a_row_far_out_hardly_matters(single):
    """At 1e8 standard deviations it leaves location and scale where they were, in single precision too."""
    dtype = single
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 1)).astype(np.float32).astype(float)
    model = jaxem.models.MultivariateT(degrees_of_freedom=3.0)
    start = jaxem.families.StudentTParams(jnp.zeros(1, dtype), jnp.ones((1, 1), dtype), jnp.asarray(3.0, dtype))
    fits = [engine.solve(model, start, jnp.asarray(np.vstack([x, [[value]]]), dtype), tol=1e-7) for value in (1e8, 1e7)]
    assert [engine.name(fit) for fit in fits] == ["converged"] * 2
    assert_allclose(fits[0].params.mean, fits[1].params.mean, atol=1e-3)
    assert_allclose(fits[0].params.covariance, fits[1].params.covariance, rtol=1e-3)


@pytest.mark.slow
def test_light_tails_lead_to_the_normal_limit():
    """ECME runs up to the end of the range on data without tails, and that is no failure."""
    x = jnp.asarray(stats.norm.ppf((np.arange(200) + 0.5) / 200)[:, None])
    start = jaxem.families.StudentTParams(jnp.zeros(1), jnp.ones((1, 1)), jnp.asarray(10.0))
    fit = engine.solve(
        jaxem.models.MultivariateT(),
        start,
        x,
        tol=1e-10,
        algorithm=jaxem.ecme(("mean", "covariance"), "degrees_of_freedom"),
    )
    assert engine.name(fit) == "converged"
    assert fit.params.degrees_of_freedom > 1e3
    assert_allclose(fit.objective, stats.norm.logpdf(x, 0, np.std(x)).sum(), rtol=1e-6)


def test_draws_have_the_tails():
    params = jaxem.families.StudentTParams(jnp.array([2.0]), jnp.array([[9.0]]), jnp.asarray(2.5))
    x, _ = jaxem.models.MultivariateT().sample(jax.random.key(1), params, 2000)
    assert stats.kstest(x[:, 0], stats.t(2.5, 2.0, 3.0).cdf).pvalue > 1e-3


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"degrees_of_freedom must lie in \[0.01, 1e\+06\], got 0"):
        jaxem.StudentT(degrees_of_freedom=0.0)
    with pytest.raises(jaxem.DataError, match="column 1 is constant"):
        jaxem.StudentT().check(np.array([[0.0, 1.0], [2.0, 1.0], [3.0, 1.0]]))
    with pytest.raises(jaxem.MissingCapabilityError, match="no conjugate prior of its degrees of freedom"):
        jaxem.models.Variational(jaxem.Single(jaxem.StudentT()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "diagonal", "tied"])
def test_contract(kind):
    case = heavy.mixture()
    weights, params = case.start
    covariance = {
        "full": params.covariance,
        "diagonal": jnp.array([[1.5, 1.0], [1.0, 2.0]]),
        "tied": params.covariance[0],
    }
    start = jaxem.models.MixtureParams(weights, params._replace(covariance=covariance[kind]))
    check_model(jaxem.StudentTMixture(2, kind), start, case.x[:40])
