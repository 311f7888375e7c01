import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import linalg


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def definite(rng):
    a = rng.standard_normal((3, 4, 4))
    return jnp.asarray(a @ np.swapaxes(a, 1, 2) + np.eye(4))


def test_packed_form_is_the_quadratic_form(rng):
    a, x = rng.standard_normal((3, 4, 4)), rng.standard_normal((4, 7))
    packed = linalg.matmul(linalg.pack_symmetric(jnp.asarray(a)), linalg.products(jnp.asarray(x)))
    np.testing.assert_allclose(packed, np.einsum("in,kij,jn->kn", x, a, x), rtol=1e-12, atol=1e-12)


def test_the_transpose_of_packing_is_a_symmetric_matrix_of_products(rng):
    """What makes the statistics of a covariance fall out of `vjp`."""
    x = jnp.asarray(rng.standard_normal((4, 1)))
    _, pull = jax.vjp(linalg.pack_symmetric, jnp.zeros((4, 4)))
    np.testing.assert_allclose(pull(linalg.products(x)[:, 0])[0], x @ x.T, rtol=1e-12)


def test_triangular_solves(definite, rng):
    factor = jnp.linalg.cholesky(definite)
    b = jnp.asarray(rng.standard_normal((4, 2)))
    solved = linalg.solve_lower(factor, b)
    assert solved.shape == (3, 4, 2)
    np.testing.assert_allclose(linalg.matmul(factor, solved), np.broadcast_to(b, (3, 4, 2)), atol=1e-12)
    np.testing.assert_allclose(
        linalg.matmul(linalg.inverse_lower(factor), factor), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-12
    )
    np.testing.assert_allclose(2 * linalg.half_log_det(factor), np.linalg.slogdet(definite)[1], rtol=1e-12)


def test_products_keep_single_precision(rng):
    """No default that could be TF32 or bfloat16 is left in the program."""
    a = jnp.ones((4, 4), jnp.float32)
    for fn in (linalg.matmul, lambda a, b: linalg.einsum("ij,jk->ik", a, b)):
        assert "HIGHEST" in str(jax.make_jaxpr(fn)(a, a))


def test_symmetrize_and_outer(rng):
    a, b = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(linalg.outer(jnp.asarray(a), jnp.asarray(b)), a[:, :, None] * b[:, None, :])
    square = linalg.symmetrize(jnp.asarray(rng.standard_normal((3, 4, 4))))
    np.testing.assert_array_equal(square, np.swapaxes(square, 1, 2))
