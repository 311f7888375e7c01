"""Tails of gamma and beta distributions against SciPy, and their derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxem.kernels import incomplete

RNG = np.random.default_rng(0)
A = np.exp(RNG.uniform(np.log(1e-2), np.log(1e4), 300))


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(np.float64, 1e-9), pytest.param(np.float32, 5e-3, marks=pytest.mark.slow)]
)
def test_gamma_tails(dtype, rtol):
    a = A.astype(dtype)
    x = np.maximum(a * np.exp(3 * RNG.normal(size=a.size) / np.sqrt(a + 0.01)), 1e-30).astype(dtype)
    found = jax.jit(incomplete.log_gamma_tails)(a, x)
    law = stats.gamma(a.astype(float))
    for log, wanted in zip(found, (law.cdf(x.astype(float)), law.sf(x.astype(float))), strict=True):
        some = wanted > 1e-250
        assert some.mean() > 0.9
        np.testing.assert_allclose(np.asarray(log)[some], np.log(wanted[some]), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(np.float64, 1e-9), pytest.param(np.float32, 5e-3, marks=pytest.mark.slow)]
)
def test_beta_tails(dtype, rtol):
    a, b = A.astype(dtype), A[::-1].astype(dtype)
    share = np.clip(stats.beta.rvs(a.astype(float), b.astype(float), random_state=1), 1e-3, 1 - 1e-3)
    x = share.astype(dtype)
    y = 1 - x  # exact, or nearly: both are of one size
    found = jax.jit(incomplete.log_beta_tails)(a, b, x, y)
    law = stats.beta(a.astype(float), b.astype(float))
    for log, wanted in zip(found, (law.cdf(x.astype(float)), law.sf(x.astype(float))), strict=True):
        some = wanted > 1e-250
        np.testing.assert_allclose(np.asarray(log)[some], np.log(wanted[some]), rtol=rtol, atol=rtol)


@pytest.mark.slow
def test_tails_that_underflow_have_logarithms():
    below, above = incomplete.log_gamma_tails(jnp.array(1.0), jnp.array(5000.0))
    assert above == pytest.approx(-5000)
    assert below == 0
    below, _ = incomplete.log_gamma_tails(jnp.array(3.0), jnp.array(1e-200))
    np.testing.assert_allclose(below, -600 * np.log(10) - np.log(6))
    np.testing.assert_allclose(
        incomplete.log_beta_tails(jnp.array(900.0), jnp.array(1.0), jnp.array(1e-3), jnp.array(0.999))[0],
        900 * np.log(1e-3),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tails", "ends"),
    [
        (lambda x: incomplete.log_gamma_tails(jnp.full(2, 2.5), x), [0.0, np.inf]),
        (lambda x: incomplete.log_beta_tails(jnp.full(2, 2.5), jnp.full(2, 0.5), x, 1 - x), [0.0, 1.0]),
    ],
)
def test_ends(tails, ends):
    ends = jnp.array(ends)
    below, above = tails(ends)
    assert below.tolist() == [-np.inf, 0]
    assert above.tolist() == [0, -np.inf]
    assert np.isfinite(jax.grad(lambda x: jnp.sum(jnp.exp(tails(x)[0])))(ends)).all()


@pytest.mark.slow
@pytest.mark.parametrize("argument", range(4))
@pytest.mark.parametrize("tail", range(2))
def test_derivatives(argument, tail):
    a, b, x = jnp.array([0.3, 2.0, 50.0, 50.0]), jnp.array([0.5, 3.0, 20.0, 1.0]), jnp.array([0.2, 0.9, 0.7, 0.99])

    def beta(h):
        own = [a, b, x]
        own[argument] = own[argument] + h
        return incomplete.log_beta_tails(own[0], own[1], own[2], 1 - own[2])[tail]

    def gamma(h):
        own = [a, 40 * x]
        own[argument % 2] = own[argument % 2] + h
        return incomplete.log_gamma_tails(*own)[tail]

    fn = gamma if argument == 3 else beta
    difference = (fn(1e-6) - fn(-1e-6)) / 2e-6
    forward = jax.jvp(fn, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(forward, difference, rtol=1e-5, atol=1e-8)
    backward = jax.jit(jax.grad(lambda h: jnp.sum(fn(h))))(0.0)
    np.testing.assert_allclose(backward, jnp.sum(difference), rtol=1e-5, atol=1e-8)


def test_one_minus():
    logs = jnp.array([-1e-300, -1e-10, -0.5, -3.0, -800.0])
    found = incomplete.log_one_minus(logs)
    np.testing.assert_allclose(
        found[:4], [np.log(1e-300), np.log(1e-10), np.log1p(-np.exp(-0.5)), np.log1p(-np.exp(-3.0))]
    )
    assert found[4] == 0
