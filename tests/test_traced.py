"""What a function of the host says inside a transformation."""

import jax
import jax.numpy as jnp
import pytest

import jaxem
from jaxem._traced import require_concrete


def host(data, weights=None):
    require_concrete("jaxem.fit", "jaxem.solve, a pure function,", data=data, weights=weights)
    return jnp.sum(data["x"])


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap], ids=["jit", "grad", "vmap"])
def test_a_traced_argument_is_named_and_so_is_what_to_use(transform):
    with pytest.raises(jaxem.DataError, match=r"data is traced: jaxem.fit was called inside .*; use jaxem.solve"):
        transform(host)({"x": jnp.ones(3)})
    data = {"x": jnp.ones(3)}
    with pytest.raises(jaxem.DataError, match="weights is traced"):
        transform(lambda w: host(data, w) * jnp.sum(w))(jnp.ones(3))


def test_values_pass():
    assert host({"x": jnp.ones(3)}) == 3
