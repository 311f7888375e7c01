"""Inverse Gaussian columns: SciPy's density, the closed form, a fit, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import jaxem
from jaxem.families import InverseGaussian, InverseGaussianParams

MEAN, SHAPE = np.array([[1.5, 4.0], [3.0, 2.0]]), np.array([[4.0, 6.0], [2.0, 9.0]])


def rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    return rng.wald(MEAN[label], SHAPE[label])


@jax.jit
def solve(start, x):
    return jaxem.solve(jaxem.Mixture(InverseGaussian(), 2), start, x)


def density(kernel, params, x):
    @jax.jit
    def run(kernel, params, x):
        own = kernel.encode(params)
        return kernel.potentials(kernel.natural(own), x) + kernel.log_base(x)[None]

    return run(kernel, params, x)


def test_the_density_is_that_of_scipy(dtype):
    family, x = InverseGaussian(), rows()
    expected = [stats.invgauss.logpdf(x, m / s, scale=s).sum(1) for m, s in zip(MEAN, SHAPE, strict=True)]
    params = InverseGaussianParams(jnp.asarray(MEAN, dtype), jnp.asarray(SHAPE, dtype))
    x = jnp.asarray(x, dtype)
    tolerance = 1e-4 if dtype == jnp.float32 else 1e-12
    for kernel in (family.kernel(), family.bind(x, jnp.ones(len(x), dtype), lambda tree: tree)):
        assert_allclose(density(kernel, params, x), expected, rtol=tolerance, atol=tolerance)


def test_rows_outside_the_support_have_no_density(dtype):
    x = jnp.asarray([[1.0, 2.0], [0.0, 1.0], [1.0, -2.0], [jnp.inf, 1.0]], dtype)
    params = InverseGaussianParams(jnp.asarray(MEAN, dtype), jnp.asarray(SHAPE, dtype))
    found = density(InverseGaussian().kernel(), params, x)
    assert np.isfinite(found[:, 0]).all()
    assert np.isneginf(found[:, 1:]).all()


def test_one_member_is_the_closed_form(dtype):
    x = rows()
    fit = jaxem.fit(jaxem.Single(InverseGaussian()), jnp.asarray(x, dtype), key=jax.random.key(0))
    mean = x.mean(0)
    found = fit.params
    assert_allclose(found.mean.reshape(-1), mean, rtol=1e-5)
    assert_allclose(found.shape.reshape(-1), 1 / ((1 / x).mean(0) - 1 / mean), rtol=1e-4)


def test_a_mixture_finds_its_members():
    rng = np.random.default_rng(1)
    label = rng.integers(2, size=2000)
    x = rng.wald(np.array([1.0, 8.0])[label], np.array([6.0, 60.0])[label])[:, None]
    fit = jaxem.fit(jaxem.Mixture(InverseGaussian(), 2), jnp.asarray(x), key=jax.random.key(0), restarts=4)
    order = np.argsort(fit.params.components.mean[:, 0])
    assert_allclose(fit.params.components.mean[order, 0], [1, 8], rtol=0.05)
    assert_allclose(fit.params.components.shape[order, 0], [6, 60], rtol=0.15)


def test_a_member_that_collapses_is_told():
    x = jnp.asarray(np.concatenate([rows(30)[:, :1], np.full((10, 1), 0.01)]))
    start = jaxem.models.MixtureParams(
        jnp.array([0.7, 0.3]), InverseGaussianParams(jnp.array([[2.0], [0.01]]), jnp.array([[3.0], [10.0]]))
    )
    fit = solve(start, x)
    assert jaxem.status_name(fit.status) == "degenerate_component"


def test_a_column_of_one_value_is_refused():
    with pytest.raises(jaxem.DataError, match="column 1 holds a single value"):
        InverseGaussian().check(np.array([[1.0, 2.0], [3.0, 2.0]]))


@pytest.mark.parametrize(("dtype", "status"), [(jnp.float32, "inaccurate"), (jnp.float64, "converged")])
def test_members_too_narrow_for_the_precision_are_told(dtype, status):
    mean, shape = jnp.array([[1.0], [3.0]], dtype), jnp.array([[1e6], [3e6]], dtype)
    x = jnp.asarray(np.random.default_rng(2).wald(np.repeat(mean, 50, 0), np.repeat(shape, 50, 0)), dtype)
    start = jaxem.models.MixtureParams(jnp.full(2, 0.5, dtype), InverseGaussianParams(mean, shape))
    fit = solve(start, x)
    assert jaxem.status_name(fit.status) == status
    if status == "converged":
        by_member = np.asarray(x).reshape(2, 50)
        assert_allclose(fit.params.components.mean[:, 0], by_member.mean(1), rtol=1e-12)
        exact = 1 / ((1 / by_member).mean(1) - 1 / by_member.mean(1))
        assert_allclose(fit.params.components.shape[:, 0], exact, rtol=1e-6)
