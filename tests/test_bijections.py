import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem import _bijections as bijections


@pytest.mark.parametrize("d", [2, 3, 5])
def test_orthogonal_matrices_but_for_the_signs_of_columns(d):
    rng = np.random.default_rng(d)
    q = np.linalg.qr(rng.standard_normal((200, d, d)))[0]
    q[0] = -np.eye(d)
    q[1] = np.roll(np.eye(d), 1, axis=0)
    u = jax.jit(bijections.orthogonal_to_free)(jnp.asarray(q))
    assert u.shape == (200, d * (d - 1) // 2)
    assert np.abs(u).max() < 20
    back = np.asarray(jax.jit(bijections.free_to_orthogonal)(u))
    np.testing.assert_allclose(back @ back.transpose(0, 2, 1), np.broadcast_to(np.eye(d), q.shape), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.einsum("nij,nij->nj", q, back)), 1, atol=1e-12)


def test_any_coordinates_are_those_of_an_orthogonal_matrix():
    u = 30 * np.random.default_rng(0).standard_normal((50, 6))
    q = np.asarray(bijections.free_to_orthogonal(jnp.asarray(u)))
    np.testing.assert_allclose(q @ q.transpose(0, 2, 1), np.broadcast_to(np.eye(4), q.shape), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [[0.2, 0.0, 0.8], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
def test_zeros_of_probabilities_come_back_as_zeros(p, dtype):
    """Also from coordinates that have moved a little, as an extrapolation does; derivatives are finite."""
    p = jnp.asarray(p, dtype)
    u = bijections.simplex_to_free(p)
    assert u.dtype == dtype
    back = bijections.free_to_simplex(u)
    np.testing.assert_allclose(back, p, rtol=1e-4)
    moved = bijections.free_to_simplex(u + jnp.asarray([3.0, -2.0], dtype))
    assert np.array_equal(back == 0, p == 0)
    assert np.array_equal(moved == 0, p == 0)
    for derivative in (jax.jacobian(bijections.simplex_to_free)(p), jax.jacobian(bijections.free_to_simplex)(u)):
        assert np.isfinite(derivative).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_come_back_as_bounds(dtype):
    p = jnp.asarray([0.0, 1.0, 0.25], dtype)
    u = bijections.unit_to_free(p)
    np.testing.assert_array_equal(bijections.free_to_unit(u)[:2], [0, 1])
    np.testing.assert_allclose(bijections.free_to_unit(u)[2], 0.25, rtol=1e-6)
    np.testing.assert_array_equal(bijections.free_to_positive(bijections.positive_to_free(p))[0], 0)
    assert np.isnan(bijections.positive_to_free(jnp.asarray([np.nan], dtype))).all()
    assert np.isfinite(jax.jacobian(bijections.unit_to_free)(p)).all()
