"""Conjugate priors by themselves, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats
from scipy.optimize import minimize

from jaxem.families.covariance import STRUCTURES
from jaxem.priors import Beta, Dirichlet, Gamma, NormalInverseWishart, StickBreaking

DRAWS = 4000
COUNTS = np.array([7.0, 0.0, 2.5, 3.0, 0.0])


def fits(sample, distribution):
    """The sample could come from there."""
    assert stats.kstest(np.asarray(sample, float).ravel(), distribution.cdf).pvalue > 1e-3


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-5} if dtype == jnp.float32 else {"rtol": 1e-10, "atol": 1e-12}


def dirichlet_kl(a, b):
    return (
        special.gammaln(a.sum()) - special.gammaln(a).sum() - special.gammaln(b.sum()) + special.gammaln(b).sum()
    ) + ((a - b) * (special.digamma(a) - special.digamma(a.sum()))).sum()


def test_dirichlet(dtype):
    prior = Dirichlet(0.25)
    posterior = prior.update(jnp.asarray(COUNTS, dtype))
    a = COUNTS + 0.25
    assert posterior.concentration.dtype == dtype
    assert_allclose(posterior.mean(), stats.dirichlet.mean(a), **tolerance(dtype))
    assert_allclose(posterior.expected_log(), special.digamma(a) - special.digamma(a.sum()), **tolerance(dtype))
    assert_allclose(posterior.kl(prior), dirichlet_kl(a, np.full(5, 0.25)), **tolerance(dtype))
    assert_allclose(Dirichlet(jnp.asarray(a + 1, dtype)).mode(), a / a.sum(), **tolerance(dtype))
    draws = jax.jit(jax.vmap(posterior.draw))(jax.random.split(jax.random.key(0), DRAWS))
    assert draws.dtype == dtype
    assert (draws > 0).all()
    assert_allclose(draws.sum(-1), 1, rtol=1e-5)
    for j in range(5):
        fits(draws[:, j], stats.beta(a[j], a.sum() - a[j]))


def test_a_sparse_dirichlet_neither_vanishes_nor_overflows(single):
    posterior = Dirichlet(jnp.full((3, 4), 1e-3, single))
    draws = jax.jit(jax.vmap(posterior.draw))(jax.random.split(jax.random.key(0), 100))
    assert np.isfinite(np.log(draws)).all()
    assert_allclose(posterior.kl(Dirichlet(1e-3)), 0, atol=1e-6)
    assert_allclose(posterior.expected_log(), special.digamma(1e-3) - special.digamma(4e-3), rtol=1e-5)


def test_gamma(dtype):
    prior, events, exposure = Gamma(np.array([0.5, 2.0]), 0.1), np.array([[3.0, 0.0]]), np.full((1, 2), 4.0)
    posterior = prior.update(jnp.asarray(events, dtype), jnp.asarray(exposure, dtype))
    a, rate = np.array([[3.5, 2.0]]), 4.1
    law = stats.gamma(a, scale=1 / rate)
    assert_allclose(posterior.mean(), law.mean(), **tolerance(dtype))
    assert_allclose(posterior.expected_log(), special.digamma(a) - np.log(rate), **tolerance(dtype))
    assert_allclose(posterior.mode(), (a - 1) / rate, **tolerance(dtype))
    b = np.array([0.5, 2.0])
    kl = special.gammaln(b) - special.gammaln(a) + (a - b) * special.digamma(a) + b * np.log(rate / 0.1)
    assert_allclose(posterior.kl(prior), (kl + a * (0.1 - rate) / rate).sum(), **tolerance(dtype))
    draws = jax.jit(jax.vmap(posterior.draw))(jax.random.split(jax.random.key(1), DRAWS))
    for j in range(2):
        fits(draws[:, 0, j], stats.gamma(a[0, j], scale=1 / rate))


def test_beta(dtype):
    prior = Beta(0.5, np.array([0.25, 2.0]))
    posterior = prior.update(*(jnp.asarray(v, dtype) for v in ([[3.0, 0.0]], [[1.0, 40.0]])))
    a, b = np.array([[3.5, 0.5]]), np.array([[1.25, 42.0]])
    assert_allclose(posterior.mean(), a / (a + b), **tolerance(dtype))
    logs = special.digamma(a) - special.digamma(a + b), special.digamma(b) - special.digamma(a + b)
    for found, expected in zip(posterior.expected_log(), logs, strict=True):
        assert_allclose(found, expected, **tolerance(dtype))
    kl = [dirichlet_kl(np.array(q), np.array(p)) for q, p in (((3.5, 1.25), (0.5, 0.25)), ((0.5, 42.0), (0.5, 2.0)))]
    assert_allclose(posterior.kl(prior), sum(kl), **tolerance(dtype))
    assert_allclose(Beta(jnp.asarray(3.0, dtype), jnp.asarray(2.0, dtype)).mode(), 2 / 3, rtol=1e-6)
    draws = jax.jit(jax.vmap(posterior.draw))(jax.random.split(jax.random.key(2), DRAWS))
    for j in range(2):
        fits(draws[:, 0, j], stats.beta(a[0, j], b[0, j]))


def sticks(weights):
    return weights[:-1] / np.cumsum(weights[::-1])[::-1][:-1]


def test_stick_breaking(dtype):
    prior = StickBreaking(1.5)
    posterior = prior.update(jnp.asarray(COUNTS, dtype))
    a, b = 1 + COUNTS[:-1], 1.5 + np.cumsum(COUNTS[::-1])[::-1][1:]
    assert_allclose(posterior.shape, a, **tolerance(dtype))
    assert_allclose(posterior.concentration, b, **tolerance(dtype))
    v = a / (a + b)
    broken = np.append(v, 1) * np.append(1, np.cumprod(1 - v))
    assert_allclose(posterior.mean(), broken, **tolerance(dtype))
    assert_allclose(posterior.mean().sum(), 1, rtol=1e-6)
    total = special.digamma(a + b)
    before = np.append(0, np.cumsum(special.digamma(b) - total))
    assert_allclose(posterior.expected_log(), np.append(special.digamma(a) - total, 0) + before, **tolerance(dtype))
    kl = sum(dirichlet_kl(np.array([x, y]), np.array([1, 1.5])) for x, y in zip(a, b, strict=True))
    assert_allclose(posterior.kl(prior), kl, **tolerance(dtype))
    w = np.array([0.1, 0.4, 0.2, 0.25, 0.05])
    assert_allclose(
        prior.log_prob(jnp.asarray(w, dtype)), stats.beta.logpdf(sticks(w), 1, 1.5).sum(), **tolerance(dtype)
    )
    draws = jax.jit(jax.vmap(posterior.draw))(jax.random.split(jax.random.key(3), DRAWS))
    assert_allclose(draws.sum(-1), 1, rtol=1e-5)
    for j in range(4):
        drawn = np.asarray(draws, float)
        fits(drawn[:, j] / drawn[:, j:].sum(-1), stats.beta(a[j], b[j]))


def test_stick_breaking_estimates_are_modes_of_the_sticks(double):
    prior, counts = StickBreaking(2.5), np.array([4.0, 1.0, 6.0, 0.5])
    found = prior.estimate(jnp.asarray(counts), jnp.ones(4))
    assert_allclose(found, prior.update(jnp.asarray(counts)).mode(), rtol=1e-12)

    @jax.jit
    @jax.value_and_grad
    def negative(u):
        v = jax.nn.sigmoid(u)
        w = jnp.concatenate([v, jnp.ones(1)]) * jnp.concatenate([jnp.ones(1), jnp.cumprod(1 - v)])
        return -jnp.sum(counts * jnp.log(w)) - prior.log_prob(w)

    direct = minimize(lambda u: tuple(map(np.asarray, negative(u))), np.zeros(3), jac=True, options={"gtol": 1e-9})
    assert_allclose(sticks(np.asarray(found)), special.expit(direct.x), rtol=1e-6)


def test_sticks_without_counts(dtype):
    flat, fallback = StickBreaking(1.0), jnp.asarray([0.5, 0.25, 0.25], dtype)
    assert_allclose(flat.estimate(jnp.zeros(3, dtype), fallback), fallback)
    assert_allclose(flat.estimate(jnp.asarray([2.0, 0.0, 0.0], dtype), fallback), [1, 0, 0])
    assert_allclose(flat.estimate(jnp.asarray([0.0, 0.0, 3.0], dtype), fallback), [0, 0, 1])
    single = StickBreaking(2.0).update(jnp.asarray([9.0], dtype))
    for weights in (single.mean(), single.draw(jax.random.key(0)), jnp.exp(single.expected_log())):
        assert_allclose(weights, [1.0])
    assert single.kl(StickBreaking(2.0)) == 0


@pytest.mark.parametrize("d", [1, 3])
def test_wishart_draws(d, single):
    """Along any direction covariances are inverse gamma and precisions chi-squared; means are Student t."""
    rng = np.random.default_rng(8)
    root = rng.standard_normal((2, d, d)) + 2 * np.eye(d)
    scale, dof, mean = root @ root.transpose(0, 2, 1), np.array([d + 0.5, 9.0]), rng.standard_normal((2, d))
    posterior = NormalInverseWishart(*(jnp.asarray(v, single) for v in (mean, [0.5, 20.0], scale, dof)))
    draw = jax.jit(jax.vmap(lambda key: posterior.draw(key, STRUCTURES["full"]())))
    means, covariances = (np.asarray(v, float) for v in draw(jax.random.split(jax.random.key(4), DRAWS)))
    a = rng.standard_normal(d)
    for j, strength in enumerate((0.5, 20.0)):
        spread, precision = a @ scale[j] @ a, a @ np.linalg.inv(scale[j]) @ a
        fits(covariances[:, j] @ a @ a, stats.invgamma((dof[j] - d + 1) / 2, scale=spread / 2))
        fits(np.linalg.inv(covariances[:, j]) @ a @ a, stats.chi2(dof[j], scale=precision))
        free = dof[j] - d + 1
        fits((means[:, j] - mean[j]) @ a, stats.t(free, scale=np.sqrt(spread / strength / free)))
        residual = means[:, j] - mean[j]
        fits(strength * np.einsum("ni,nij,nj->n", residual, np.linalg.inv(covariances[:, j]), residual), stats.chi2(d))


@pytest.mark.parametrize("structure", [name for name, kind in STRUCTURES.items() if kind.conjugate])
def test_modes_maximise_the_density(structure, double):
    """The mode that a posterior names is what `Gaussian.maximize` finds; SciPy's density is lower around it."""
    dof, d = 6.5, 2
    scale = {"full": np.eye(2)[None] + 0.3, "tied": np.eye(2) + 0.3, "diagonal": np.array([[1.0, 2.0]])}
    posterior = NormalInverseWishart(
        jnp.asarray([[1.0, -1.0]]),
        jnp.asarray([2.0]),
        jnp.asarray(scale.get(structure, np.array([1.5]))),
        jnp.asarray(dof if structure == "tied" else [dof]),
    )
    _, covariance = (np.asarray(v) for v in posterior.mode(STRUCTURES[structure]()))

    def density(c):
        full = {"full": lambda: c[0], "tied": lambda: c, "diagonal": lambda: np.diag(c[0])}
        full = full.get(structure, lambda: c[0] * np.eye(d))()
        at_mean = stats.multivariate_normal.logpdf(np.zeros(d), cov=full / 2)
        if structure in ("full", "tied"):
            return at_mean + stats.invwishart.logpdf(full, dof, np.eye(2) + 0.3)
        return at_mean + stats.invgamma.logpdf(c, dof / 2, scale=np.asarray(posterior.scale) / 2).sum()

    assert all(density(covariance) > density(covariance * factor) for factor in (0.98, 1.02))


def test_fields_that_are_refused():
    for wrong in (0.0, -1.0, np.nan, np.array([1.0, 0.0])):
        with pytest.raises(ValueError, match="concentration must be positive"):
            Dirichlet(wrong)
        with pytest.raises(ValueError, match="concentration must be positive"):
            StickBreaking(wrong)
    with pytest.raises(ValueError, match="mean_precision must be positive"):
        NormalInverseWishart(0.0, 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="degrees_of_freedom must be positive"):
        NormalInverseWishart(0.0, 1.0, 1.0, -1.0)
    for prior in (Dirichlet(0.5), StickBreaking(0.5)):
        with pytest.raises(ValueError, match="concentration must be at least 1 for a posterior-mode estimate"):
            prior.estimate(jnp.ones(3), jnp.ones(3))
        assert_allclose(prior.with_mode().estimate(jnp.ones(4), jnp.ones(4)), 0.25)


def test_a_mode_that_is_not_there_is_no_number(double):
    """What is known only when the program runs cannot raise."""
    found = jax.jit(lambda a: Dirichlet(a).estimate(jnp.ones(2), jnp.ones(2)))(jnp.asarray([0.5, 2.0]))
    assert np.isnan(found).any()


def test_whether_a_prior_has_a_mode_as_far_as_is_known():
    fields = [
        (Dirichlet, (np.array([2.0, 0.5]),), (np.array([2.0, 1.0]),)),
        (StickBreaking, (0.5,), (1.0,)),
        (StickBreaking, (1.0, 0.5), (1.0, 1.0)),
        (Beta, (jnp.array([0.5, 1.0]), 1.0), (1.0, jnp.array([1.0, 2.0]))),
        (Beta, (1.0, 0.5), (1.0, 1.0)),
        (Gamma, (0.5, 2.0), (1.0, 0.1)),
    ]
    for kind, without, enough in fields:
        assert not kind(*without).has_mode
        assert kind(*enough).has_mode
        assert kind(*without).with_mode().has_mode
    assert NormalInverseWishart(np.zeros(2), 0.1, np.eye(2), 0.5).has_mode
    unknown = []
    jax.eval_shape(lambda a: unknown.append(Dirichlet(a).has_mode), jnp.array([2.0, 0.5]))
    assert unknown == [True]
