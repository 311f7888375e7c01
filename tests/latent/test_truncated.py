"""Truncated variables against quadrature: values, moments, derivatives, draws and modes."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jaxem.latent import (
    TruncatedExponential,
    TruncatedExponentialPotentials,
    TruncatedNormal,
    TruncatedNormalPotentials,
)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


# Linear coefficient, precision, lower and upper bound.
NORMAL = np.array(
    [
        [0.5, 1.0, -np.inf, 0.2],
        [0.5, 1.0, 0.2, np.inf],
        [-2.0, 4.0, -1.0, 1.5],
        [3.0, 0.5, -4.0, -3.9],
        [0.0, 1.0, -2.0, 2.0],
        [1.0, 2.0, -np.inf, np.inf],
        [0.3, 1.0, 40.3, np.inf],
        [0.3, 1.0, -np.inf, -39.7],
        [0.3, 1.0, 1.0, 1.0 + 1e-6],
    ]
)
# Slope, and length of the interval.
EXPONENTIAL = np.array(
    [[-0.5, np.inf], [-2.0, 1.0], [2.0, 1.0], [-0.3, 1e-3], [-1e-9, 1.0], [1e-9, 1.0], [-0.4, 1.2], [-800.0, 3.0]]
)


def normal(rows, dtype=np.float64):
    h, precision, lower, upper = np.asarray(rows, float).T
    with np.errstate(invalid="ignore"):
        below, above = precision * lower - h, h - precision * upper
        width = np.where(np.isfinite(upper - lower), precision * (upper - lower), 0)
    leaves = (np.full_like(h, 0.7), h, precision, below, above, width)
    return TruncatedNormalPotentials(*(jnp.asarray(leaf, dtype) for leaf in leaves))


def exponential(rows, dtype=np.float64):
    h, width = np.asarray(rows, float).T
    turns = np.where(np.isinf(width), -np.inf, h * np.where(np.isinf(width), 1, width))
    return TruncatedExponentialPotentials(*(jnp.asarray(leaf, dtype) for leaf in (np.full_like(h, 0.7), h, turns)))


def truth(log_density, lower, upper, peak):
    """Log integral, mean and mean square of an unnormalised density."""
    top = log_density(peak)
    lower, upper = max(lower, peak - 50), min(upper, peak + 100)
    moments = []
    for power in range(3):
        f = partial(lambda y, power: y**power * np.exp(log_density(y) - top), power=power)
        edges = np.unique(np.clip([lower, peak - 1, peak, peak + 0.05, peak + 1, peak + 5, upper], lower, upper))
        moments.append(sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-13)[0] for a, b in pairwise(edges)))
    return np.log(moments[0]) + top, moments[1] / moments[0], moments[2] / moments[0]


def normal_truth(h, precision, lower, upper):
    peak = float(np.clip(h / precision, lower, upper))
    return truth(lambda y: h * y - precision * y * y / 2, lower, upper, peak)


def exponential_truth(h, width):
    return truth(lambda t: h * t, 0.0, width, 0.0 if h < 0 else width)


def test_normal_values_and_moments_are_those_of_quadrature(dtype):
    found, value = jax.jit(TruncatedNormal().expectation)(normal(NORMAL, dtype))
    log, mean, square = np.transpose([normal_truth(*row) for row in NORMAL])
    tolerance = {"rtol": 1e-9 if dtype == "float64" else 2e-5, "atol": 1e-6 if dtype == "float32" else 1e-12}
    np.testing.assert_allclose(value, log + 0.7, **tolerance)
    np.testing.assert_allclose(found.linear, mean, **tolerance)
    np.testing.assert_allclose(found.precision, -square / 2, **tolerance)


def test_exponential_values_and_moments_are_those_of_quadrature(dtype):
    found, value = jax.jit(TruncatedExponential().expectation)(exponential(EXPONENTIAL, dtype))
    log, mean, _ = np.transpose([exponential_truth(*row) for row in EXPONENTIAL])
    rtol = 1e-9 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(value, log + 0.7, rtol=rtol)
    np.testing.assert_allclose(found.linear, mean, rtol=rtol)


@pytest.mark.parametrize(
    ("latent", "potentials"),
    [(TruncatedNormal(), partial(normal, NORMAL)), (TruncatedExponential(), partial(exponential, EXPONENTIAL))],
    ids=["normal", "exponential"],
)
class TestBoth:
    def test_moments_are_the_gradient_of_the_value(self, latent, potentials):
        p = potentials()
        gradient = jax.jit(jax.grad(lambda p: jnp.sum(latent.expectation(p)[1])))(p)
        moments, _ = jax.jit(latent.expectation)(p)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14), gradient, moments)

    def test_tempered_potentials_are_powers_of_the_density(self, latent, potentials):
        tempered = jax.tree.map(lambda leaf: 0.5 * leaf, potentials())
        value = jax.jit(latent.expectation)(tempered)[1]
        if isinstance(latent, TruncatedNormal):
            expected = [normal_truth(*row * [0.5, 0.5, 1, 1])[0] for row in NORMAL]
        else:
            expected = [exponential_truth(*row * [0.5, 1])[0] for row in EXPONENTIAL]
        np.testing.assert_allclose(value, np.add(expected, 0.35), rtol=1e-9)

    def test_what_is_not_hidden_adds_nothing(self, dtype, latent, potentials):
        p = jax.tree.map(jnp.zeros_like, potentials(dtype))
        p = p._replace(constant=jnp.full_like(p.constant, 1.5))
        moments, value = jax.jit(latent.expectation)(p)
        np.testing.assert_array_equal(value, p.constant)
        for found in (moments, latent.mode(p)[0], jax.jit(latent.sample)(jax.random.key(0), p)):
            assert all((np.asarray(leaf) == 0).all() for leaf in found[1:])

    def test_leading_axes_are_of_observations_and_others_of_their_variables(self, latent, potentials):
        p = potentials()
        n = len(p.constant)
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf])[None], p)._replace(constant=jnp.full((1, 2), 0.7))
        moments, value = jax.jit(latent.expectation)(stacked)
        one, values = jax.jit(latent.expectation)(p)
        np.testing.assert_allclose(value, np.full((1, 2), values.sum() - 0.7 * (n - 1)), rtol=1e-12)
        np.testing.assert_allclose(moments.linear[0, 1], one.linear, rtol=1e-12)
        assert latent.pair(stacked, moments).shape == (1, 2)

    def test_draws_have_the_moments_and_keep_to_the_bounds(self, latent, potentials):
        p, m = potentials(), 4000
        drawn = jax.jit(jax.vmap(latent.sample, (0, None)))(jax.random.split(jax.random.key(1), m), p)
        expected = jax.jit(latent.expectation)(p)[0]
        y = np.asarray(drawn.linear)
        if isinstance(latent, TruncatedNormal):
            lower, upper = NORMAL[:, 2], NORMAL[:, 3]
            np.testing.assert_allclose(drawn.precision, -(y**2) / 2)
        else:
            lower, upper = 0.0, EXPONENTIAL[:, 1]
        slack = 1e-14 * (1 + np.abs(y))
        assert (lower - slack <= y).all()
        assert (y <= upper + slack).all()
        error = np.abs(y.mean(0) - np.asarray(expected.linear))
        assert (error < 4.5 * y.std(0) / np.sqrt(m) + 1e-12).all()

    def test_the_mode_has_the_highest_potential(self, latent, potentials):
        p = potentials()
        moments, value = latent.mode(p)
        np.testing.assert_allclose(value, latent.pair(p, moments), rtol=1e-9)
        drawn = jax.jit(jax.vmap(latent.sample, (0, None)))(jax.random.split(jax.random.key(1), 4000), p)
        values = jax.vmap(latent.pair, (None, 0))(p, drawn)
        assert (np.asarray(values) <= np.asarray(value) + 1e-9 * (1 + np.abs(value))).all()


def test_a_normal_variable_without_bounds_is_normal():
    p = normal([[1.0, 2.0, -np.inf, np.inf]])
    moments, value = jax.jit(TruncatedNormal().expectation)(p)
    np.testing.assert_allclose(moments.linear, [0.5], rtol=1e-14)
    np.testing.assert_allclose(-2 * moments.precision, [0.25 + 0.5], rtol=1e-14)
    np.testing.assert_allclose(value, [0.7 + 0.25 + np.log(2 * np.pi / 2.0) / 2], rtol=1e-14)
