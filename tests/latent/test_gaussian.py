"""The Gaussian latent against NumPy, on both of its paths."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxem.latent import Categorical, GaussianLatent, GaussianPotentials, Nested, NestedTree

LATENT = GaussianLatent()
sizes = pytest.mark.parametrize("q", [1, 3, 20])


@lru_cache
def potentials(q):
    rng = np.random.default_rng(q)
    root = rng.standard_normal((2, 4, q, q + 2))
    precision = root @ root.swapaxes(-1, -2) + np.eye(q)
    return GaussianPotentials(rng.standard_normal((2, 4)), rng.standard_normal((2, 4, q)), precision)


def total(p):
    return jnp.sum(jnp.sin(LATENT.expectation(p)[1]))


def measure(p, bad):
    direction = jax.tree.map(lambda a: jnp.ones_like(a) * 0.1, p)
    return {
        "expectation": LATENT.expectation(p),
        "mode": LATENT.mode(p),
        "gradient": jax.grad(lambda p: jnp.sum(LATENT.expectation(p)[1]))(p),
        "pair": LATENT.pair(p, LATENT.mode(p)[0]),
        "bad": LATENT.expectation(bad),
        "hessian": jax.jvp(jax.grad(total), (p,), (direction,))[1],
    }


@lru_cache
def found(q):
    p = jax.tree.map(jnp.asarray, potentials(q))
    bad = p._replace(precision=p.precision.at[0, 1].multiply(-1.0))
    return jax.tree.map(np.asarray, jax.jit(measure)(p, bad))


def log_normalizer(p):
    solved = np.linalg.solve(p.precision, p.linear[..., None])[..., 0]
    log_det = np.linalg.slogdet(p.precision)[1]
    return p.constant + (np.sum(solved * p.linear, -1) - log_det + p.linear.shape[-1] * np.log(2 * np.pi)) / 2


@sizes
def test_moments_and_log_normalizer(q):
    p, (moments, value) = potentials(q), found(q)["expectation"]
    assert_allclose(value, log_normalizer(p), rtol=1e-12)
    covariance = np.linalg.inv(p.precision)
    mean = (covariance @ p.linear[..., None])[..., 0]
    assert_allclose(moments.constant, 1)
    assert_allclose(moments.linear, mean, rtol=1e-9, atol=1e-12)
    assert_allclose(-2 * moments.precision, covariance + mean[..., :, None] * mean[..., None, :], rtol=1e-9, atol=1e-12)


@sizes
def test_moments_are_the_gradient(q):
    moments, gradient = found(q)["expectation"][0], found(q)["gradient"]
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12, atol=1e-14), moments, gradient)


@sizes
def test_second_derivatives(q):
    def slope(p):
        moments, value = LATENT.expectation(jax.tree.map(jnp.asarray, p))
        return jax.tree.map(lambda m: np.cos(value).reshape(2, 4, *[1] * (m.ndim - 2)) * m, moments)

    p, step = potentials(q), 1e-5
    ahead, behind = (slope(jax.tree.map(lambda a, s=s: a + 0.1 * s, p)) for s in (step, -step))
    expected = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-7), found(q)["hessian"], expected)


@sizes
def test_the_mode_is_the_mean_with_its_potential(q):
    p, (mode, value) = potentials(q), found(q)["mode"]
    z = np.linalg.solve(p.precision, p.linear[..., None])[..., 0]
    assert_allclose(mode.linear, z, rtol=1e-9, atol=1e-12)
    assert_allclose(-2 * mode.precision, z[..., :, None] * z[..., None, :], rtol=1e-9, atol=1e-12)
    direct = p.constant + np.sum(p.linear * z, -1) - np.einsum("...i,...ij,...j", z, p.precision, z) / 2
    assert_allclose(value, direct, rtol=1e-10)
    assert_allclose(found(q)["pair"], direct, rtol=1e-10)


@sizes
def test_an_indefinite_precision_is_nan_in_its_row_alone(q):
    moments, value = found(q)["bad"]
    expected = np.zeros((2, 4), bool)
    expected[0, 1] = True
    np.testing.assert_array_equal(np.isnan(value), expected)
    assert np.isnan(moments.precision[0, 1]).all()


@pytest.mark.parametrize("q", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_draws_have_the_moments(q):
    n = 20_000
    one = jax.tree.map(lambda a: jnp.asarray(a[:1, :1]), potentials(q))
    many = jax.tree.map(lambda a: jnp.broadcast_to(a, (1, n, *a.shape[2:])), one)
    drawn = jax.jit(LATENT.sample)(jax.random.key(0), many)
    z = np.asarray(drawn.linear)[0]
    covariance = np.linalg.inv(potentials(q).precision[0, 0])
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    white = (z - covariance @ potentials(q).linear[0, 0]) @ whiten.T
    assert np.abs(white.mean(0)).max() < 5 / np.sqrt(n)
    assert np.abs(white.T @ white / n - np.eye(q)).max() < 8 / np.sqrt(n)
    assert_allclose(-2 * drawn.precision[0, :3], z[:3, :, None] * z[:3, None, :], rtol=1e-12)


def test_nested_in_a_choice():
    p = jax.tree.map(jnp.asarray, potentials(3))
    outer = jnp.log(jnp.array([[0.3] * 4, [0.7] * 4]))
    moments, value = Nested(Categorical(), LATENT).expectation(NestedTree(outer, p))
    each = np.asarray(outer) + log_normalizer(potentials(3))
    assert_allclose(value, np.logaddexp(*each), rtol=1e-12)
    assert_allclose(moments.outer, np.exp(each - np.asarray(value)), rtol=1e-10)
    assert_allclose(moments.inner.constant, moments.outer, rtol=1e-12)


def test_single_precision():
    p = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), potentials(3))
    moments, value = LATENT.expectation(p)
    assert value.dtype == moments.linear.dtype == moments.precision.dtype == jnp.float32
    assert_allclose(value, log_normalizer(potentials(3)), rtol=1e-5)
