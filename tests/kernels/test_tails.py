"""The normal distribution on an interval against quadrature and SciPy, in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxem.kernels import tails


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(60)


def quadrature(near, width):
    """Log probability, mean and mean square by Gauss-Legendre rules on eighty panels."""
    reach = min(width, 45.0 - near if near < 0 else 45.0 / max(near, 1.0))
    edges = np.linspace(0, reach, 81)
    half = np.diff(edges)[:, None] / 2
    z = near + (edges[:-1, None] + half + half * _NODES)
    top = max(near, 0.0)
    mass = half * _WEIGHTS * np.exp(-(z - top) * (z + top) / 2)
    total = mass.sum()
    log = np.log(total) - top**2 / 2 - np.log(2 * np.pi) / 2
    return log, (mass * z).sum() / total, (mass * z * z).sum() / total


INTERVALS = {
    "a half": (0.0, np.inf),
    "all but a tail": (-6.0, np.inf),
    "the whole line": (-1000.0, np.inf),
    "a tail": (3.5, np.inf),
    "beyond the continued fraction's edge": (5.0001, np.inf),
    "40 standard deviations out": (40.0, np.inf),
    "40 out, and bounded": (40.0, 0.1),
    "40 out, tiny": (40.0, 1e-5),
    "1000 out": (1000.0, 0.5),
    "straddling": (-1.0, 2.5),
    "straddling, wide": (-3.0, 9.0),
    "symmetric": (-2.0, 4.0),
    "symmetric and wide": (-8.0, 16.0),
    "at the edge of the quadrature": (-1.0, 3.99),
    "beyond the edge of the quadrature": (-1.0, 4.01),
    "far, at the edge of the quadrature": (7.8, 0.5),
    "tiny in the middle": (-1e-7, 1e-6),
    "tiny": (1.3, 1e-9),
}


def test_intervals_have_the_moments_of_quadrature(dtype):
    near, width = np.array(list(INTERVALS.values()), dtype).T
    found = np.asarray(jax.jit(tails.interval_moments)(jnp.asarray(near), jnp.asarray(width)), float).T
    rtol = 1e-12 if dtype == "float64" else 1e-5
    for name, row, a, w in zip(INTERVALS, found, near.astype(float), width.astype(float), strict=True):
        np.testing.assert_allclose(row, quadrature(a, w), rtol=rtol, atol=rtol, err_msg=name)


def test_one_sided_tails_are_scipys():
    x = np.concatenate([np.linspace(-30, 60, 901), [1e3, 1e8]])
    expected = np.sqrt(2 / np.pi) / special.erfcx(x / np.sqrt(2))
    np.testing.assert_allclose(jax.jit(tails.hazard)(jnp.asarray(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(tails.log_survival)(jnp.asarray(x)), special.log_ndtr(-x), rtol=1e-12)


def test_derivatives_are_those_of_the_moments():
    """`d log P / d near` is a difference of densities, and derivatives of means are variances."""
    near, width = (jnp.asarray(v) for v in zip(*INTERVALS.values(), strict=True))
    hazard = jax.jit(jax.vmap(jax.grad(tails.hazard)))(near)
    variance = [b - a**2 for _, a, b in (quadrature(float(x), np.inf) for x in near)]
    # Where the variance is lost beside 1, in far tails, so is the slope's distance from 1.
    np.testing.assert_allclose(1 - hazard, variance, atol=1e-9)
    tangents = jax.jit(jax.vmap(jax.jacfwd(lambda a, w: jnp.stack(tails.interval_moments(a, w)))))(near, width)
    step = 1e-5
    for a, w, tangent in zip(near, width, tangents, strict=True):
        if abs(a) < 10 and w > 1e-3:
            up, down = quadrature(float(a) + step, float(w)), quadrature(float(a) - step, float(w))
            np.testing.assert_allclose(tangent, np.subtract(up, down) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_derivatives_are_finite_wherever_the_interval_is(dtype):
    near, width = (jnp.asarray(v, dtype) for v in zip(*INTERVALS.values(), strict=True))
    first = jax.jacfwd(lambda a, w: jnp.stack(tails.interval_moments(a, w)), (0, 1))
    both = jax.jit(jax.vmap(lambda a, w: (first(a, w), jax.jacrev(first, (0, 1))(a, w))))(near, width)
    for leaf in jax.tree.leaves(both):
        assert np.isfinite(leaf).all()


def test_quantiles_fall_where_they_should():
    u = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 0.9999])
    bounds = np.array(list(INTERVALS.values()))
    quantile = jax.jit(jax.vmap(lambda bound: tails.interval_quantile(jnp.asarray(u), *jnp.tile(bound[:, None], 6))))
    for (name, (near, width)), found in zip(INTERVALS.items(), np.asarray(quantile(jnp.asarray(bounds))), strict=True):
        assert (near <= found).all(), name
        assert (found <= near + width).all(), name
        assert (np.diff(found) >= 0).all(), name
        inside = found > near
        probability = [np.exp(quadrature(near, x - near)[0] - quadrature(near, width)[0]) for x in found[inside]]
        # A narrow interval has no more quantiles than there are numbers in it.
        spacing = 4 * np.spacing(max(abs(near), 1.0)) * max(near, 1.0)
        atol = 1e-8 + spacing / min(width, 1.0 / max(near, 1.0))
        np.testing.assert_allclose(probability, u[inside], atol=atol, rtol=1e-8, err_msg=name)
        if name == "straddling":
            np.testing.assert_allclose(found, stats.truncnorm.ppf(u, near, near + width), rtol=1e-9)
