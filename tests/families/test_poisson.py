import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import gammaln, logsumexp, softmax, xlogy

import jaxem
from jaxem.families import Poisson, PoissonParams
from jaxem.families._counts import deviance, log_ratio, stirling
from jaxem.priors import Gamma
from tests.families import cases


def test_pieces_of_the_log_density(dtype):
    """Each has a small relative error, in places where the textbook formula has none of its digits left."""
    rng = np.random.default_rng(8)
    x = np.concatenate([np.arange(60.0), np.float32(10 ** rng.uniform(0, 7, 200)).round()])
    mean = np.float32(x * rng.uniform(0.7, 1.4, x.size) + 0.5).astype(float)
    near = np.float32(x + np.sqrt(x)).astype(float) + 1
    eps = 20 * np.finfo(dtype).eps
    fn = jax.jit(lambda a, b: (deviance(a, b), log_ratio(a, b), stirling(a)))
    for other in (mean, near):
        found = fn(jnp.asarray(x, dtype), jnp.asarray(other, dtype))
        with np.errstate(divide="ignore"):
            u = (other - x) / np.where(x > 0, x, 1)
        exact = np.where(x > 0, x * (u - np.log1p(u)), other)
        assert_allclose(found[0], exact, rtol=max(eps, 1e-8), atol=eps)
        assert_allclose(found[1][1:], -np.log1p(u[1:]), rtol=max(eps, 1e-9))
        assert_allclose(found[2], gammaln(x + 1) - xlogy(x, x) + x, rtol=max(eps, 1e-7), atol=100 * eps)


def test_large_counts_in_single_precision():
    """Log densities to 1e-3 (the textbook formula is off by 1 at a rate of a million)."""
    rate = np.float32([[20.0, 3e3], [25.0, 1e6], [600.0, 1.002e6]])
    x = np.float32(np.random.default_rng(9).poisson(rate[np.arange(90) % 3]))
    expected = np.stack([stats.poisson.logpmf(x.astype(float), r.astype(float)).sum(1) for r in rate])
    own = np.arange(90) % 3, np.arange(90)

    @jax.jit
    def run(rate, x):
        params = PoissonParams(rate)
        fast = Poisson().bind(x, jnp.ones(x.shape[0], x.dtype), lambda tree: tree)
        slow = fast.accurate().about(params)
        return [
            (f.potentials(f.natural(params), x) + f.log_base(x)[None], f.rounding_error(params)) for f in (fast, slow)
        ]

    with jax.enable_x64(False):
        (_, loss), (accurate, accurate_loss) = run(jnp.asarray(rate), jnp.asarray(x))
    limit = np.sqrt(np.finfo(np.float32).eps)
    assert loss > limit > accurate_loss
    assert_allclose(np.asarray(accurate)[own], expected[own], atol=1e-3)
    assert_allclose(accurate, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_fit_to_large_counts_in_single_precision():
    """The likelihood is the one at the parameters, and those are where EM in double precision ends."""
    rate = np.array([[1e2, 3e4], [1.3e2, 3.05e4], [5e5, 1e6]])
    rng = np.random.default_rng(0)
    x = rng.poisson(rate[rng.integers(3, size=500)])
    with jax.enable_x64(False):
        model = jaxem.Mixture(Poisson(), 3)
        start = jaxem.models.MixtureParams(jnp.full(3, 1 / 3), PoissonParams(jnp.asarray(1.001 * rate, jnp.float32)))
        fit = jaxem.solve(model, start, jnp.asarray(x, jnp.float32))
        assert jaxem.status_name(fit.status) == "converged"

    def log_joint(weights, rate):
        return np.log(weights) + np.stack([stats.poisson.logpmf(x, r).sum(1) for r in rate], 1)

    weights = np.full(3, 1 / 3)
    for _ in range(50):
        r = softmax(log_joint(weights, rate), axis=1)
        weights, rate = r.mean(0), (r.T @ x) / r.sum(0)[:, None]
    assert_allclose(fit.objective, logsumexp(log_joint(weights, rate), axis=1).sum(), rtol=1e-5)
    assert_allclose(fit.params.components.rate, rate, rtol=1e-4)


def test_a_rate_of_zero(dtype):
    """Zeros are certain under it, anything else as good as impossible, and nothing is NaN."""
    params = PoissonParams(jnp.asarray([[0.0], [2.0]], dtype))
    x = jnp.asarray([[0.0], [3.0]], dtype)

    @jax.jit
    def run(params, x):
        found = cases.kernels(Poisson(), params, x, jnp.ones(2, dtype)).values()
        density = [f.potentials(f.natural(p), x) + f.log_base(x)[None] for f, p in found]
        anchored = Poisson().kernel().accurate().about(params)
        density.append(anchored.potentials(anchored.natural(params), x) + anchored.log_base(x)[None])
        return density, jax.grad(lambda p: jnp.sum(Poisson().natural(p).constant))(params)

    densities, gradient = run(params, x)
    for density in densities:
        assert np.isfinite(density).all()
        assert_allclose(density[0, 0], 0, atol=1e-6)
        assert density[0, 1] < -200
        assert_allclose(density[1], stats.poisson.logpmf([0, 3], 2.0), rtol=1e-5)
    assert np.isfinite(gradient.rate).all()


def test_rows_outside_the_support_have_no_density(dtype):
    x = jnp.asarray([[1.0, 2.0], [-1.0, 0.0], [0.0, 0.5]], dtype)
    assert np.isfinite(Poisson().log_base(x)).tolist() == [True, False, False]


def test_gamma_mode(dtype):
    """(shape - 1 + events) / (rate + rows), also for a member without rows."""
    family = Poisson(Gamma(jnp.asarray([2.0, 3.0], dtype), 1.5))
    x = jnp.asarray([[3.0, 1.0], [5.0, 0.0]], dtype)
    params = PoissonParams(jnp.ones((2, 2), dtype))
    r = jnp.asarray([[1.0, 0.5], [0.0, 0.0]], dtype)
    found = jax.jit(lambda: family.maximize(cases.collect(family, params, x, r), params))()
    assert_allclose(found.rate, [[6.5 / 3, 3 / 3], [1 / 1.5, 2 / 1.5]], rtol=1e-5)


def test_rows_and_options_that_are_refused():
    Poisson().check(np.array([[0, 3], [2, 1]]))
    with pytest.raises(ValueError, match=r"data: row 1, column 0 has value -2.0, which is not a count"):
        Poisson().check(np.array([[0.0, 3.0], [-2.0, 0.5]]))
    with pytest.raises(ValueError, match=r"row 0, column 1 has value 0.5"):
        Poisson().check(np.array([[0.0, 0.5]]))
    with pytest.raises(ValueError, match="shape must be positive"):
        Gamma(0.0, 1.0)
    with pytest.raises(ValueError, match="shape must be at least 1 for a posterior-mode estimate"):
        Gamma(0.5, 1.0).pseudo_counts((1, 1), float)
    with pytest.raises(ValueError, match="rate must be positive"):
        Gamma(2.0, np.array([1.0, 0.0]))
