"""Variational Bayes as EM on the posterior, against exact evidences and a published fit."""

import itertools
from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import gammaln, logsumexp

import jaxem
from jaxem.init import RandomResponsibilities
from tests.helpers import engine, problems

pytestmark = pytest.mark.slow  # compiled anew for every rule and model

STRUCTURES = problems.COVARIANCES
_solve = eqx.filter_jit(jaxem.solve)


def niw(structure, d=2, mean=0.0, strength=0.5, dof=4.0, scale=1.0):
    scales = {"diagonal": np.full(d, scale), "spherical": np.asarray(scale)}
    return jaxem.priors.NormalInverseWishart(np.full(d, mean), strength, scales.get(structure, scale * np.eye(d)), dof)


def solve(model, start, x, **options):
    dtype = jax.tree.leaves(start)[0].dtype
    options = {"tol": 1e-9, "max_steps": 2000} | options
    tol, most = jnp.asarray(options.pop("tol"), dtype), jnp.asarray(options.pop("max_steps"), jnp.int32)
    return _solve(model, start, x, tol=tol, max_steps=most, history_size=engine.HISTORY, **options)


def start(variational, x, seed=0):
    return eqx.filter_jit(variational.init)(jax.random.key(seed), x, jnp.ones(len(jax.tree.leaves(x)[0])))


def value(variational, posterior, x):
    return variational.log_likelihood(posterior, x) + variational.log_prior(posterior)


# Old Faithful, in z-scores: Bishop (2006), figure 10.6


def faithful(k):
    prior = jaxem.priors.NormalInverseWishart(np.zeros(2), 1.0, np.eye(2), 2.0)
    begin = RandomResponsibilities()
    return jaxem.GaussianMixture(k, prior=prior, weights_prior=jaxem.priors.Dirichlet(1e-3), start=begin)


@lru_cache
def standardised():
    x = problems.old_faithful().x
    return jnp.asarray((x - x.mean(0)) / x.std(0))


@pytest.mark.parametrize(("k", "bound"), [(2, -442.17456263), (6, -443.29787345)])
def test_old_faithful(k, bound):
    variational, x = jaxem.models.Variational(faithful(k)), standardised()
    fit = solve(variational, start(variational, x), x, tol=0.0)
    assert engine.name(fit) == "converged"
    assert abs(float(fit.objective) - bound) < 1e-6
    concentration = np.sort(np.asarray(fit.posterior.weights.concentration))[::-1]
    assert_allclose(concentration, [174.86286, 97.13916] + [1e-3] * (k - 2), atol=2e-5)
    assert np.diff(engine.history(fit)).min() > -1e-9
    # The components that nothing falls to are as they were before the data.
    idle = np.asarray(fit.posterior.weights.concentration) < 0.1
    assert_allclose(np.asarray(fit.posterior.components.degrees_of_freedom)[idle], 2.0, atol=1e-4)


def test_units_do_not_matter():
    """In minutes, far from the origin, with the prior to match: the same posterior, less the Jacobian."""
    raw = problems.old_faithful().x
    centre, width = raw.mean(0), raw.std(0)
    plain, x = jaxem.models.Variational(faithful(2)), standardised()
    prior = jaxem.priors.NormalInverseWishart(centre + 1e4, 1.0, np.diag(width**2), 2.0)
    moved = jaxem.models.Variational(jaxem.GaussianMixture(2, prior=prior, weights_prior=jaxem.priors.Dirichlet(1e-3)))
    one = start(plain, x)
    other = eqx.tree_at(
        lambda p: (p.components.mean, p.components.scale),
        one,
        (one.components.mean * width[None] + centre[None] + 1e4, one.components.scale * np.outer(width, width)[None]),
    )
    a, b = solve(plain, one, x), solve(moved, other, jnp.asarray(raw + 1e4))
    assert_allclose(a.objective, b.objective + len(raw) * np.log(width).sum(), rtol=1e-7)
    assert_allclose(
        a.posterior.components.mean * width[None] + centre[None], b.posterior.components.mean - 1e4, rtol=1e-6
    )
    assert_allclose(
        a.posterior.components.scale * np.outer(width, width)[None], b.posterior.components.scale, rtol=1e-5
    )


# Exact evidences


def evidence_of_gaussian(x, structure, prior):
    """Row by row, from the Student t that each is given those before (Bishop 2006, exercise 2.46)."""
    d = x.shape[1]
    m, k, v = np.array(prior.mean, float), prior.mean_precision, prior.degrees_of_freedom
    scale, total = np.array(prior.scale, float), 0.0
    for row in x:
        grow, residual = (k + 1) / k, row - m
        if structure in ("full", "tied"):
            free = v - d + 1
            total += stats.multivariate_t.logpdf(row, m, scale * grow / free, free)
            scale, v = scale + np.outer(residual, residual) / grow, v + 1
        elif structure == "diagonal":
            total += stats.t.logpdf(row, v, m, np.sqrt(scale * grow / v)).sum()
            scale, v = scale + residual**2 / grow, v + 1
        else:
            total += stats.multivariate_t.logpdf(row, m, scale * grow / v * np.eye(d), v)
            scale, v = scale + residual @ residual / grow, v + d
        m, k = m + residual / (k + 1), k + 1
    return total


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_single_gaussian_has_the_exact_evidence(structure, d):
    x = np.random.default_rng(30).normal(2.0, 3.0, (7, d))
    prior = niw(structure, d, mean=1.0, dof=d + 0.5, scale=2.0)
    variational = jaxem.models.Variational(
        jaxem.GaussianMixture(1, structure, prior=prior, weights_prior=jaxem.priors.Dirichlet(0.5))
    )

    @jax.jit
    def run(x):
        return value(variational, variational.init(jax.random.key(0), x, jnp.ones(7)), x)

    assert_allclose(run(jnp.asarray(x)), evidence_of_gaussian(x, structure, prior), rtol=1e-10)


def evidence_of_counts(x, a, rate):
    """Log marginal probability of rows that share their Poisson rates."""
    n, total = len(x), x.sum(0)
    one = gammaln(a + total) - gammaln(a) + a * np.log(rate) - (a + total) * np.log(rate + n)
    return one.sum() - gammaln(x + 1).sum()


def test_the_bound_lies_below_the_evidence():
    """Two components, eight rows: the evidence is a sum over all 256 assignments."""
    x = np.array([[0.0], [1.0], [0.0], [2.0], [9.0], [11.0], [10.0], [7.0]])
    a, rate, alpha = 0.8, 0.2, 0.7

    def assignment(z):
        counts = np.bincount(z, minlength=2)
        weights = gammaln(2 * alpha) - gammaln(2 * alpha + 8) + (gammaln(alpha + counts) - gammaln(alpha)).sum()
        return weights + sum(evidence_of_counts(x[z == j], a, rate) for j in range(2))

    evidence = logsumexp([assignment(np.array(z)) for z in itertools.product(range(2), repeat=8)])
    model = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(a, rate)), 2, jaxem.priors.Dirichlet(alpha))
    variational, rows = jaxem.models.Variational(model), jnp.asarray(x)
    fit = solve(variational, start(variational, rows), rows)
    # Both orders of the components have the same share of the evidence, and the bound covers one.
    assert float(fit.objective) < evidence
    assert float(fit.objective) > evidence - np.log(2) - 0.1
    assert_allclose(fit.objective, value(variational, fit.posterior, rows), rtol=1e-12)


# Every kind of mixture


def mixtures():
    for structure in ("tied", "diagonal"):
        family = jaxem.Gaussian(structure, niw(structure, dof=3.0))
        yield structure, family, problems.overlapping_gaussians(structure).x
    families = {
        "size": jaxem.Gaussian("spherical", niw("spherical")),
        "count": jaxem.Poisson(jaxem.priors.Gamma(0.5, 0.1)),
        "bits": jaxem.Bernoulli(jaxem.priors.Beta(0.5, 0.5)),
        "kind": jaxem.Categorical(3, jaxem.priors.Dirichlet(0.3)),
    }
    yield "product", jaxem.Product(families), problems.mixed_columns().x


@pytest.mark.parametrize(
    ("name", "weights_prior"),
    [
        ("tied", jaxem.priors.Dirichlet(0.1)),
        ("diagonal", jaxem.priors.StickBreaking(0.7)),
        ("product", jaxem.priors.StickBreaking(0.7)),
    ],
)
def test_the_bound_never_falls(name, weights_prior):
    family, x = {key: rest for key, *rest in mixtures()}[name]
    x = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, float)), x)
    variational = jaxem.models.Variational(jaxem.Mixture(family, 4, weights_prior))
    fit = solve(variational, start(variational, x, 1), x, tol=1e-8, max_steps=400)
    assert engine.name(fit) in ("converged", "max_steps_reached")
    values = engine.history(fit)
    assert len(values) > 10
    assert np.diff(values).min() > -1e-8
    assert_allclose(fit.objective, value(variational, fit.posterior, x), rtol=1e-10)


def test_single_precision_on_narrow_clusters():
    """The accurate kernel takes over, about the mean of each posterior."""
    x = problems.narrow_clusters().x
    found = {}
    for dtype in (jnp.float32, jnp.float64):
        prior = jaxem.priors.NormalInverseWishart(np.zeros(2), 1e-6, np.eye(2), 3.0)
        model = jaxem.GaussianMixture(3, prior=prior, weights_prior=jaxem.priors.Dirichlet(0.5))
        variational = jaxem.models.Variational(model)
        labels = jnp.asarray(np.arange(len(x)) % 3)
        rows = jnp.asarray(x, dtype)
        mean = jnp.stack([rows[labels == j].mean(0) for j in range(3)]) + jnp.asarray(0.5, dtype)
        eye = 4 * jnp.broadcast_to(jnp.eye(2, dtype=dtype), (3, 2, 2))
        params = jaxem.models.MixtureParams(jnp.full(3, 1 / 3, dtype), jaxem.families.GaussianParams(mean, eye))
        posterior = eqx.filter_jit(variational.lift)(params, rows, jnp.ones(len(x), dtype))
        found[dtype] = solve(variational, posterior, rows, tol=1e-6)
        assert engine.name(found[dtype]) == "converged"
    single, exact = found.values()
    assert_allclose(single.params.components.covariance, exact.params.components.covariance, rtol=1e-3, atol=1e-3)
    assert_allclose(single.objective, exact.objective, rtol=1e-4)


def test_lower_and_lift():
    case = engine.case("poisson")
    model = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(0.5, 0.1)), 3, jaxem.priors.Dirichlet(0.5))
    variational = jaxem.models.Variational(model)
    lift = eqx.filter_jit(variational.lift)
    posterior = lift(case.start, case.x, case.weights)
    responsibilities = np.asarray(model.posterior(case.start, case.x))
    assert_allclose(posterior.weights.concentration, 0.5 + responsibilities.sum(0), rtol=1e-9)
    assert_allclose(posterior.components.rate[:, 0], 0.1 + responsibilities.sum(0), rtol=1e-9)
    assert_allclose(posterior.components.shape, 0.5 + responsibilities.T @ np.asarray(case.x), rtol=1e-9)
    lowered = variational.lower(posterior)
    assert_allclose(lowered.components.rate, posterior.components.mean(), rtol=1e-12)
    # A row of weight 2 is two rows, and rows come in chunks.
    many = jnp.tile(case.x, (25, 1))
    engine.assert_same(lift(case.start, many, jnp.ones(len(many))), lift(case.start, case.x, 25 * case.weights))


def test_the_bound_is_stationary_in_unconstrained_coordinates():
    """In which gradients and extrapolation work; they go there and back."""
    model = jaxem.Mixture(jaxem.Poisson(jaxem.priors.Gamma(0.5, 0.1)), 2, jaxem.priors.StickBreaking(0.5))
    variational, x = jaxem.models.Variational(model), engine.case("poisson").x[:60, :1]
    fit = solve(variational, start(variational, x), x, tol=1e-13)
    free = variational.unconstrain(fit.posterior)
    engine.assert_same(variational.constrain(free), fit.posterior, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda u: value(variational, variational.constrain(u), x)))
    for leaf, moved in zip(
        *map(jax.tree.leaves, (gradient(free), gradient(jax.tree.map(lambda u: u + 0.1, free)))), strict=True
    ):
        np.testing.assert_allclose(leaf, 0, atol=1e-3)
        assert np.abs(moved).max() > 1e-2


def test_starts_need_no_mode():
    """A prior without a mode gives starts all the same, many at once."""
    model = jaxem.Mixture(jaxem.Bernoulli(jaxem.priors.Beta(0.1, 0.1)), 3, jaxem.priors.StickBreaking(0.2))
    variational, x = jaxem.models.Variational(model), jnp.asarray(np.asarray(problems.bernoulli_bits().x, float))
    draw = eqx.filter_jit(jax.vmap(lambda key: variational.init(key, x, jnp.ones(len(x)))))
    starts = draw(jax.random.split(jax.random.key(0), 3))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(starts))
    assert_allclose((starts.components.a + starts.components.b - 0.2).sum(1), len(x), rtol=1e-9)
    with pytest.raises(ValueError, match="at least 1 for a posterior-mode estimate"):
        jaxem.solve(model, variational.lower(jax.tree.map(lambda a: a[0], starts)), x)


def test_maximum_a_posteriori_with_sticks():
    case = engine.case("poisson")
    model = jaxem.Mixture(jaxem.Poisson(), 3, jaxem.priors.StickBreaking(3.0))
    fit = solve(model, case.start, case.x)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-9
    assert_allclose(fit.objective - fit.log_likelihood, model.log_prior(fit.params), rtol=1e-9)
    gradient = jax.grad(lambda u: value(model, model.constrain(u), case.x))(model.unconstrain(fit.params))
    assert_allclose(gradient.components.rate, 0, atol=1e-2)


def test_what_cannot_be_is_refused():
    full = {"weights_prior": jaxem.priors.Dirichlet(1.0)}
    poisson = jaxem.Poisson(jaxem.priors.Gamma(1.0, 1.0))
    for model, words in (
        (jaxem.Mixture(jaxem.Poisson(), 2, **full), "Poisson has no prior"),
        (jaxem.Mixture(poisson, 2), "no prior on its weights.*Dirichlet.*StickBreaking"),
        (jaxem.Mixture(poisson, 2, **full, frozen=("weights",)), "weights is frozen"),
        (engine.case("function").model, r"FunctionModel has no conjugate prior \(rung 3"),
    ):
        with pytest.raises(jaxem.MissingCapabilityError, match=words):
            jaxem.models.Variational(model)
