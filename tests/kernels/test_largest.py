import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels.largest import largest


@pytest.mark.parametrize("k", [1, 2, 8, 11, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_of_the_largest(k, dtype):
    # Few values, so that there are ties.
    values = np.random.default_rng(k).integers(0, 4, (3, k, 50)).astype(dtype)
    values[0, :, 0] = -np.inf
    place, value = jax.vmap(largest)(jnp.asarray(values))
    np.testing.assert_array_equal(place, values.argmax(1))
    np.testing.assert_array_equal(value, values.max(1))
    assert place.dtype == jnp.int32
    assert value.dtype == dtype


@pytest.mark.parametrize("at", [0, 5, 18])
def test_a_number_that_is_none_shows(at):
    values = np.random.default_rng(0).normal(size=(19, 3))
    values[at, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(largest(jnp.asarray(values))[1]), [False, True, False])


def test_its_derivative_is_that_of_the_value_in_its_place():
    values = jnp.asarray([[1.0, 5.0, 3.0], [2.0, 4.0, 3.0]])
    slope = jax.grad(lambda v: jnp.sum(largest(v)[1] * jnp.arange(1.0, 4.0)))(values)
    np.testing.assert_array_equal(slope, [[0, 2, 3], [1, 0, 0]])
