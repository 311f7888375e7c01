"""Unrolled kernels against LAPACK, on every path that the size chooses."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxem.kernels import small

sizes = pytest.mark.parametrize("q", [1, 3, 7])


def report(a, h):
    return small.sweep(a, h), small.cholesky(a), small.solve_upper(small.cholesky(a), h)


@lru_cache
def matrices(q):
    """Matrices `[2, 5, q, q]`, of which one is indefinite, right-hand sides, and what is found for them."""
    rng = np.random.default_rng(q)
    root = rng.standard_normal((2, 5, q, q + 1))
    a = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(q)
    a[1, 2, -1, -1] = -0.5
    h = rng.standard_normal((2, 5, q))
    found = jax.jit(report)(jnp.asarray(np.moveaxis(a, (-2, -1), (0, 1))), jnp.asarray(np.moveaxis(h, -1, 0)))
    return a, h, jax.tree.map(np.asarray, found)


@sizes
def test_sweep(q):
    a, h, ((inverse, solution, form, log_det), _, _) = matrices(q)
    good = np.ones((2, 5), bool)
    good[1, 2] = False
    expected = np.linalg.inv(a[good])
    assert_allclose(np.moveaxis(inverse, (0, 1), (-2, -1))[good], expected, rtol=1e-9, atol=1e-10)
    expected = np.linalg.solve(a[good], h[good][..., None])[..., 0]
    assert_allclose(np.moveaxis(solution, 0, -1)[good], expected, rtol=1e-9, atol=1e-10)
    assert_allclose(form[good], np.sum(h[good] * expected, -1), rtol=1e-10)
    assert_allclose(log_det[good], np.linalg.slogdet(a[good])[1], rtol=1e-10, atol=1e-12)
    for part in (inverse, solution, form, log_det):
        assert np.isnan(part[..., 1, 2]).all()


@sizes
def test_cholesky_and_solve(q):
    a, h, (_, factor, solution) = matrices(q)
    factor, solution = np.moveaxis(factor, (0, 1), (-2, -1)), np.moveaxis(solution, 0, -1)
    assert np.isnan(factor[1, 2, -1, -1])
    assert_allclose(factor[0], np.linalg.cholesky(a[0]), rtol=1e-10, atol=1e-12)
    assert_allclose(np.einsum("nji,nj->ni", factor[0], solution[0]), h[0], rtol=1e-9, atol=1e-11)


def test_only_the_lower_triangle_counts():
    a, h, _ = matrices(3)
    sweep = jax.jit(lambda a: small.sweep(jnp.moveaxis(a, (-2, -1), (0, 1)), np.moveaxis(h, -1, 0)))
    for x, y in zip(sweep(np.tril(a)), sweep(a), strict=True):
        np.testing.assert_array_equal(x, y)
