import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from jaxem.kernels.special import (
    digamma_excess,
    expected_log,
    gamma_divergence,
    ratio_divergence,
    stirling_excess,
)

X = np.concatenate([10.0 ** np.arange(-3, 7), [0.5, 1.46, 9.99, 10.0, 10.01, 37.0]])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


def tolerance(dtype):
    return 3e-6 if dtype == jnp.float32 else 1e-11


def held(x, dtype):
    """In that precision, and the same numbers in double precision."""
    x = np.asarray(x, dtype)
    return jnp.asarray(x), x.astype(float)


def test_excess_of_digamma_and_of_the_log_gamma_function(dtype):
    x, exact = held(X, dtype)
    # The difference loses digits for large arguments, where two terms of the series are enough.
    inverse = 1 / exact
    slow = np.where(exact < 300, special.digamma(exact) - np.log(exact), -inverse / 2 - inverse**2 / 12)
    assert_allclose(digamma_excess(x), slow, rtol=1e-5 if dtype == jnp.float32 else 1e-9)
    direct = special.gammaln(exact) - (exact - 0.5) * np.log(exact) + exact - np.log(2 * np.pi) / 2
    slow = np.where(exact < 300, direct, inverse / 12 - inverse**3 / 360)
    error = {"rtol": 1e-5, "atol": 3e-6} if dtype == jnp.float32 else {"rtol": 1e-9}
    assert_allclose(stirling_excess(x), slow, **error)


@pytest.mark.parametrize(("a", "b"), [(0.7, 3.0), (12.0, 0.4), (30.0, 25.0), (2.0, 2.0)])
def test_divergence_is_that_of_gamma_distributions(a, b):
    one, other = stats.gamma(a, scale=1 / a), stats.gamma(b, scale=1 / b)
    # Over the logarithm, where the integrand is smooth.
    integrand = lambda u: np.exp(u + one.logpdf(np.exp(u))) * (one.logpdf(np.exp(u)) - other.logpdf(np.exp(u)))  # noqa: E731
    expected, _ = integrate.quad(integrand, -40, 4, limit=500, epsabs=1e-11)
    with jax.enable_x64(True):
        assert_allclose(gamma_divergence(jnp.asarray(a), jnp.asarray(b)), expected, atol=1e-9)


def test_divergences_of_large_counts_keep_their_digits():
    a, b = np.float32([1e6, 1e6, 3e6, 1e-3]), np.float32([1.0, 1.001e6, 0.5, 1e-3])
    with jax.enable_x64(True):
        exact = np.asarray(gamma_divergence(*(jnp.asarray(v, float) for v in (a, b))))
    with jax.enable_x64(False):
        found = np.asarray(gamma_divergence(jnp.asarray(a), jnp.asarray(b)))
    assert_allclose(found, exact, rtol=1e-5, atol=1e-6)
    assert exact[3] == found[3] == 0


def test_ratio_divergence(dtype):
    x, exact = held([1e-4, 0.5, 0.9001, 0.95, 1 - 1e-4, 1.0, 1.0625, 1.0999, 3.0, 100.0], dtype)
    series = sum((-1) ** p * (exact - 1) ** p / p for p in range(2, 60))
    expected = np.where(np.abs(exact - 1) < 0.3, series, exact - 1 - np.log(exact))
    assert_allclose(ratio_divergence(x), expected, rtol=tolerance(dtype))


def test_expected_log_of_what_is_nearly_certain(dtype):
    (a, a_exact), (b, b_exact) = held([1e6, 3.0, 0.01], dtype), held([1e-2, 2.0, 4.0], dtype)
    expected = special.digamma(a_exact) - special.digamma(a_exact + b_exact)
    expected[0] = -b_exact[0] / a_exact[0] * (1 + 0.5 / a_exact[0])
    assert_allclose(expected_log(a, b), expected, rtol=1e-5)


def test_derivatives_are_finite_on_both_sides_of_the_switch(dtype):
    x = jnp.asarray([1e-3, 9.0, 11.0, 1e6], dtype)
    for function in (
        digamma_excess,
        stirling_excess,
        lambda x: ratio_divergence(x),
        lambda x: gamma_divergence(x, x[::-1]),
    ):
        gradient = jax.grad(lambda x, f=function: jnp.sum(f(x)))(x)
        assert np.isfinite(gradient).all()
    slope = jax.grad(lambda x: jnp.sum(digamma_excess(x)))(x)
    assert_allclose(slope[:3], (special.polygamma(1, np.asarray(x, float)) - 1 / np.asarray(x, float))[:3], rtol=1e-4)
