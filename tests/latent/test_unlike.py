import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from jaxem.latent import Categorical, GammaScale, GammaScaleTree, Nested, NestedTree, SeveralTree, Unlike

ROW = jnp.array([0.3, 2.0, 5.0])
# Two scales a row.
SCALES = GammaScaleTree(0.1 * ROW[None], *(jnp.stack([a * ROW, b + ROW], -1)[None] for a, b in ((1, 2), (2, 1))), None)
SCALES = SCALES._replace(rate=-SCALES.power)
LATENT = Unlike((None, GammaScale()))
POTENTIALS = SeveralTree(jnp.stack([-ROW, jnp.zeros(3)]), ((), SCALES))


def test_each_member_has_its_own():
    moments, value = jax.jit(LATENT.expectation)(POTENTIALS)
    own, expected = GammaScale().expectation(SCALES)
    assert_allclose(value, np.stack([-ROW, expected[0]]), rtol=1e-12)
    assert_allclose(moments.hidden[1].rate, own.rate)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(LATENT.expectation(p)[1])))(POTENTIALS)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-9), gradient, moments)
    mode, top = LATENT.mode(POTENTIALS)
    assert_allclose(LATENT.pair(POTENTIALS, mode), top, rtol=1e-12)


def test_several_scales_of_a_row_are_independent():
    each = [GammaScaleTree(0 * ROW[None], *(leaf[..., j] for leaf in SCALES[1:])) for j in range(2)]
    values = [GammaScale().log_normalizer(one) for one in each]
    assert_allclose(GammaScale().log_normalizer(SCALES), 0.1 * ROW[None] + values[0] + values[1], rtol=1e-12)


def test_nested_in_the_choice_of_a_member():
    nested = Nested(Categorical(), LATENT)
    potentials = NestedTree(jnp.log(jnp.array([[0.4] * 3, [0.6] * 3])), POTENTIALS)
    moments, value = nested.expectation(potentials)
    own = np.asarray(LATENT.log_normalizer(POTENTIALS)) + np.log([[0.4], [0.6]])
    assert_allclose(value, np.logaddexp(*own), rtol=1e-12)
    share = np.exp(own - np.logaddexp(*own))
    assert_allclose(moments.inner.hidden[1].constant, share[1:], rtol=1e-12)
    drawn = nested.sample(jax.random.key(0), potentials)
    assert_allclose(drawn.inner.member, drawn.outer)
    assert_allclose(drawn.inner.hidden[1].rate == 0, np.broadcast_to(drawn.outer[1:, :, None] == 0, (1, 3, 2)))
