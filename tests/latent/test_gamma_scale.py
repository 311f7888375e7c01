import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats
from scipy.special import digamma, gammaln

from jaxem.kernels.special import digamma_excess, inverse_digamma_excess
from jaxem.latent import GammaScale, GammaScaleTree

# Constant, shape, power and rate: heavy tails and light ones, near and far from the centre.
POINTS = np.array([[0.3, a, h, r] for a in (0.01, 0.54, 3.0, 1e3) for h in (0.5, 8.0) for r in (-0.01, -3.0, -500.0)]).T


def tree(points, dtype=np.float64):
    return GammaScaleTree(*(jnp.asarray(np.asarray(row), dtype) for row in points))


@pytest.fixture(scope="module")
def found():
    latent = GammaScale()
    moments, value = jax.jit(latent.expectation)(tree(POINTS))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(latent.expectation(p)[1])))(tree(POINTS))
    return moments, value, gradient


def test_normalizer_and_moments(found):
    """Against the gamma distribution's own; the gradient of the normalizer is the moments."""
    c, a, h, r = POINTS
    moments, value, gradient = found
    assert_allclose(value, c + a + gammaln(a + h) - (a + h) * np.log(a - r), rtol=1e-11)
    mean, log = (a + h) / (a - r), digamma(a + h) - np.log(a - r)
    assert_allclose(moments.rate, mean, rtol=1e-13)
    assert_allclose(moments.power, log, rtol=1e-9)
    assert_allclose(moments.shape, log - mean + 1, rtol=1e-9, atol=1e-12)
    assert_allclose(moments.constant, 1)
    for own, differentiated in zip(moments, gradient, strict=True):
        assert_allclose(differentiated, own, rtol=1e-12)


def test_normalizer_is_an_integral(found):
    for i in (7, 10, 13):
        c, a, h, r = POINTS[:, i]
        density = lambda t: np.exp(c + a * (t - np.exp(t) + 1) + h * t + r * np.exp(t))  # noqa: E731, B023
        whole = integrate.quad(density, -40, 5, epsabs=0, epsrel=1e-10, points=[np.log((a + h) / (a - r))])[0]
        assert_allclose(found[1][i], np.log(whole), rtol=1e-8)


@pytest.mark.parametrize("shape", [1e2, 5e3, 5e5])
def test_large_shapes_in_single_precision(shape):
    """`log u - u + 1` of order 1 / shape keeps its digits, where `log u` and `u` alone have few left of it."""
    points = np.array([[0.0] * 3, [shape] * 3, [8.0] * 3, [-0.5, -8.0, -40.0]])
    points = points.astype(np.float32)
    latent = GammaScale()
    coarse, low = latent.expectation(tree(points, np.float32))
    fine, high = latent.expectation(tree(points.astype(float)))
    assert low.dtype == np.float32
    assert_allclose(low, high, rtol=1e-6)
    assert_allclose(coarse.shape, fine.shape, rtol=1e-4)
    assert_allclose(coarse.rate, fine.rate, rtol=1e-6)
    # A gamma of this shape: the expectation to second order in 1 / shape.
    total, mean = shape + 8.0, (shape + 8.0) / (shape - points[3].astype(float))
    second = -1 / (2 * total) - 1 / (12 * total**2) - (mean - 1 - np.log1p(mean - 1))
    assert_allclose(fine.shape, second, rtol=1e-7)


def test_mode_is_where_the_density_is_highest():
    latent, potentials = GammaScale(), tree(POINTS[:, 6:12])
    found, value = latent.mode(potentials)
    c, a, h, r = POINTS[:, 6:12]
    for factor in (0.9, 1.0, 1.1):
        u = factor * np.asarray(found.rate)
        density = c + a * (np.log(u) - u + 1) + h * np.log(u) + r * u
        assert (density <= np.asarray(value) + 1e-12).all()
        if factor == 1.0:
            assert_allclose(value, density, rtol=1e-12)
    assert_allclose(found.shape, np.log(found.rate) - found.rate + 1, rtol=1e-9, atol=1e-14)


def test_draws_are_from_the_posterior():
    n = 4000
    point = np.array([0.0, 1.5, 1.0, -4.0])
    drawn = GammaScale().sample(jax.random.key(0), tree(np.repeat(point[:, None], n, 1)))
    assert stats.kstest(drawn.rate, stats.gamma(2.5, scale=1 / 5.5).cdf).pvalue > 1e-3
    u = np.asarray(drawn.rate)
    assert_allclose(drawn.power, np.log(u), rtol=1e-9)
    assert_allclose(drawn.shape, np.log(u) - u + 1, atol=1e-12)


def test_pair_ignores_potentials_of_what_is_not_there():
    latent, zero = GammaScale(), jnp.zeros(2)
    potentials = GammaScaleTree(jnp.array([1.0, -jnp.inf]), zero + 2, zero + 3, zero - 4)
    moments = GammaScaleTree(jnp.array([1.0, 0.0]), zero + 0.1, zero + 0.2, zero + 0.3)
    assert_allclose(latent.pair(potentials, moments), [1 + 0.2 + 0.6 - 1.2, 0.2 + 0.6 - 1.2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_of_the_digamma_function(dtype):
    """To every digit at any shape, with its derivative; the ends where there is no root."""
    x = np.array([6e-3, 0.05, 0.3, 0.54, 0.9, 2.0, 9.9, 10.0, 10.1, 50.0, 1e3, 1e5, 4e5])
    value = jnp.asarray(digamma_excess(jnp.asarray(x)), dtype)
    inverse = lambda v: inverse_digamma_excess(v, 5e-3, 5e5)  # noqa: E731
    root, derivative = jax.jit(jax.vmap(jax.value_and_grad(inverse)))(value)
    assert_allclose(root, x, rtol=20 * np.finfo(dtype).eps)
    slope = jax.vmap(jax.grad(digamma_excess))(jnp.asarray(x, dtype))
    assert_allclose(derivative * slope, 1, rtol=1e-3)
    assert_allclose(inverse(jnp.asarray([-1e9, -1e-9, 0.0, 1.0], dtype)), [5e-3, 5e5, 5e5, 5e5], rtol=1e-6)
