import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from jaxem.latent import (
    Categorical,
    GammaScale,
    GammaScaleTree,
    GaussianPotentials,
    Independent,
    MissingBlock,
    Nested,
    NestedTree,
    SeveralTree,
)

OWN = jnp.array([[0.3, -2.0, 1.0], [0.1, 0.5, -jnp.inf]])
SCALE = GammaScaleTree(*(jnp.broadcast_to(jnp.asarray(v), (2, 3)) for v in (0.2, 2.0, 0.5, -1.5)))
LINEAR = jnp.arange(12.0).reshape(2, 1, 2, 3) / 5
LINEAR = LINEAR.at[0, 0, :, 1].set(0)
PRECISION = jnp.broadcast_to(jnp.array([[2.0, 0.5], [0.5, 1.0]])[:, :, None, None, None], (2, 2, 1, 2, 3))
PRECISION = PRECISION.at[0, :, :, :, 1].set(0).at[:, 0, :, :, 1].set(0)
BLOCK = GaussianPotentials(jnp.zeros((2, 3)), LINEAR, PRECISION)
LATENT = Independent((MissingBlock(), None, GammaScale()))
POTENTIALS = SeveralTree(OWN, (BLOCK, (), SCALE))


def test_the_log_normalizer_is_a_sum_and_its_gradient_the_moments():
    moments, value = jax.jit(LATENT.expectation)(POTENTIALS)
    each = MissingBlock().log_normalizer(BLOCK) + GammaScale().log_normalizer(SCALE)
    assert_allclose(value, OWN + each, rtol=1e-12)
    finite = POTENTIALS._replace(member=jnp.zeros_like(OWN))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(LATENT.log_normalizer(p))))(finite)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9, atol=1e-12), gradient, moments)
    mode, top = LATENT.mode(finite)
    assert_allclose(LATENT.pair(finite, mode), top, rtol=1e-12)
    assert LATENT.lacks == ()


def test_what_is_hidden_of_a_row_goes_with_its_member():
    nested = Nested(Categorical(), LATENT)
    potentials = NestedTree(jnp.log(jnp.array([[0.4] * 3, [0.6] * 3])), POTENTIALS)
    moments, value = jax.jit(nested.expectation)(potentials)
    own = np.asarray(LATENT.log_normalizer(POTENTIALS)) + np.log([[0.4], [0.6]])
    assert_allclose(value, np.logaddexp(*own), rtol=1e-12)
    share = np.exp(own - np.logaddexp(*own))
    assert_allclose(moments.inner.hidden[2].constant, share, rtol=1e-12)
    alone = MissingBlock().expectation(BLOCK)[0]
    assert_allclose(moments.inner.hidden[0].linear, share * np.asarray(alone.linear), rtol=1e-12)
    drawn = nested.sample(jax.random.key(0), potentials)
    assert_allclose(drawn.inner.member, drawn.outer)
    assert_allclose(drawn.inner.hidden[0].constant, drawn.outer)
    assert_allclose(drawn.inner.hidden[2].rate == 0, drawn.outer == 0)


def test_each_structure_knows_where_its_rows_are():
    """Row `i` of three takes the place of row `2 - i`, wherever the axis is."""
    turned = LATENT.map_rows(lambda leaf, axis: jnp.flip(leaf, axis), POTENTIALS)
    moments, value = LATENT.expectation(turned)
    expected, values = LATENT.expectation(POTENTIALS)
    assert_allclose(value, values[:, ::-1], rtol=1e-12)
    back = LATENT.map_rows(lambda leaf, axis: jnp.flip(leaf, axis), moments)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12), back, expected)
