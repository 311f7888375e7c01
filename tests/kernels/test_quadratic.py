from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels.linalg import transpose
from jaxem.kernels.quadratic import blocks_pay, forms, upper_blocks, whitened, whitened_forms


def arrays(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def agree(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [1, 70])
def test_forms_in_blocks(d):
    """Values, statistics and derivatives are those of the definition, whatever is left of the diagonal."""
    q, x, g = arrays((3, d, d), (7, d), (3, 7))
    dq, dx = arrays(q.shape, x.shape, seed=1)

    def here(q, x):
        return forms(upper_blocks(q), x)

    def plain(q, x):
        return jnp.einsum("kij,ni,nj->kn", (q + transpose(q)) / 2, x, x)

    @partial(jax.jit, static_argnums=0)
    def asked(fn, q, x):
        lanes = jax.vmap(fn, (0, None))(jnp.stack([q, dq]), x)
        return fn(q, x), jax.vjp(fn, q, x)[1](g), jax.jvp(fn, (q, x), (dq, dx)), lanes

    agree(asked(here, q, x), asked(plain, q, x))


@pytest.mark.parametrize("own", [True, False], ids=["its own", "another's"])
@pytest.mark.parametrize("d", [5, 70])
def test_forms_of_whitened_rows(own, d):
    """The same whether or not the coefficients are those of the member that has whitened the rows."""
    q, linear, y, g = arrays((2, d, d), (2, d), (2, d, 9), (2, 9))
    moved = tuple(arrays(q.shape, linear.shape, y.shape, seed=1))
    q = jnp.broadcast_to(-jnp.eye(d) / 2, q.shape) if own else q

    def plain(q, linear, y):
        return jnp.einsum("kij,kin,kjn->kn", q, y, y) + jnp.einsum("ki,kin->kn", linear, y)

    @partial(jax.jit, static_argnums=0)
    def asked(fn, q, linear, y):
        of_q, *others = jax.vjp(fn, q, linear, y)[1](g)
        lanes = jax.vmap(fn, (0, None, None))(jnp.stack([q, moved[0]]), linear, y)
        return fn(q, linear, y), of_q + transpose(of_q), others, jax.jvp(fn, (q, linear, y), moved), lanes

    agree(asked(whitened_forms, q, linear, y), asked(plain, q, linear, y))


@pytest.mark.parametrize("d", [4, 70])
def test_rows_are_whitened_about_each_member(d):
    inverse, location, x = arrays((2, d, d), (2, d), (d, 6))
    inverse = jnp.tril(inverse)
    expected = jnp.einsum("kij,kjn->kin", inverse, x[None] - location[:, :, None])
    agree(whitened(inverse, location, x), expected)


@pytest.mark.parametrize(
    ("members", "d", "expected"),
    [
        *((1, d, expected) for d, expected in ((2, False), (8, False), (16, True), (512, True))),
        *((8, d, expected) for d, expected in ((16, False), (32, False), (64, True), (128, True))),
        *((64, d, expected) for d, expected in ((64, False), (128, False))),
        *((128, d, expected) for d, expected in ((64, False), (128, False), (512, True))),
    ],
)
def test_the_form_follows_from_the_shape(members, d, expected):
    assert blocks_pay(members, d) is expected
    assert blocks_pay(members, d, jnp.float32) is (expected or d > 32)
