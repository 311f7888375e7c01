"""The gate for derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxem.layers._run import finite_derivative


def loss(x):
    """Has an infinite derivative where a number is 0."""
    y, name = finite_derivative((x, "name"))
    assert name == "name"
    return jnp.sum(jnp.sqrt(y))


def test_what_is_finite_passes_and_what_is_not_is_zero_as_a_whole():
    x = jnp.asarray([[1.0, 4.0], [0.0, 4.0]])
    expected = np.array([[0.5, 0.25], [0.0, 0.0]])
    np.testing.assert_allclose(jax.vmap(loss)(x), [3.0, 2.0])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(loss)))(x), expected)
    np.testing.assert_allclose(jax.jvp(loss, (x[0],), (jnp.ones(2),))[1], 0.75)
    np.testing.assert_allclose(jax.hessian(loss)(x[0]), np.diag([-0.25, -1 / 32]))


def test_a_tree_without_numbers_stays():
    assert finite_derivative(("name", None)) == ("name", None)
