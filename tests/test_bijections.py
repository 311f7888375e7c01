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
