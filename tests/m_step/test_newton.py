from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import newton
from jaxem.m_step import Newton
from tests.helpers import engine


@jax.jit
def uphill(hessian, gradient, mask):
    """Newton's own direction, with no curvature damped."""
    return newton._uphill(hessian, gradient, mask, jnp.zeros(1))[0]


def quadratic(curvature, slope):
    """A concave or saddle-shaped function of groups of blocks that do not interact."""

    def q(blocks):
        terms = [
            jnp.sum(b * g) - jnp.einsum("bi,bij,bj->", b, h, b) / 2
            for b, h, g in zip(blocks, curvature, slope, strict=True)
        ]
        return sum(terms)

    return q


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 4, 4))
    curvature = [jnp.asarray(root @ np.swapaxes(root, 1, 2) + np.eye(4)), 2 * jnp.ones((1, 1, 1))]
    return curvature, [jnp.asarray(rng.standard_normal((3, 4))), jnp.ones((1, 1))]


def test_hessian_blocks(parts):
    curvature, slope = parts
    q, blocks = quadratic(curvature, slope), [jnp.ones((3, 4)), jnp.ones((1, 1))]
    found = jax.jit(lambda blocks: [newton._hessian_block(q, blocks, i) for i in range(2)])(blocks)
    engine.assert_same(found, [-np.asarray(c) for c in curvature], rtol=1e-10, atol=1e-12)


def test_one_step_reaches_the_maximum_of_a_concave_quadratic(parts):
    curvature, slope = parts
    direction = uphill(-curvature[0], slope[0], jnp.ones((3, 4)))
    np.testing.assert_allclose(direction, np.linalg.solve(curvature[0], slope[0][..., None])[..., 0], rtol=1e-9)


def test_it_goes_uphill_from_a_saddle_and_where_it_is_flat():
    hessian = jnp.asarray([np.diag([1.0, -2.0, 0.0])])
    gradient = jnp.asarray([[0.5, 1.0, 0.0]])
    np.testing.assert_allclose(uphill(hessian, gradient, jnp.ones((1, 3))), [[0.5, 0.5, 0.0]], atol=1e-12)
    flat = uphill(jnp.zeros((1, 2, 2)), jnp.asarray([[1.0, 0.0]]), jnp.ones((1, 2)))
    assert float(flat[0, 0]) > 0


def test_a_direction_that_is_almost_flat_does_not_hold_up_the_others():
    """Newton's step there is so long that even a thousandth of it falls; with curvature put in, all move uphill."""

    def objective(blocks):
        u, v = blocks[0][0]
        return -((u - 1) ** 2) + 1e-8 * v - 1e6 * v**4

    start = [jnp.zeros((1, 2))]
    (moved,), rose = newton.newton_step(objective, start, [jnp.ones((1, 2))], 10)
    assert bool(rose)
    assert float(objective([moved])) > float(objective(start)) + 0.01


def test_masked_coordinates_stay_and_the_others_are_solved_given_them(parts):
    curvature, slope = parts
    mask = jnp.asarray([[1.0, 0.0, 1.0, 1.0]] * 3)
    direction = np.asarray(uphill(-curvature[0], slope[0] * mask, mask))
    free = [0, 2, 3]
    assert np.all(direction[:, 1] == 0)
    inner = np.asarray(curvature[0])[:, free][:, :, free]
    np.testing.assert_allclose(
        direction[:, free], np.linalg.solve(inner, np.asarray(slope[0])[:, free, None])[..., 0], rtol=1e-9
    )


class Landscape:
    """A model of one parameter whose coordinate is the parameter itself."""

    @staticmethod
    def unconstrain(params):
        return params

    constrain = unconstrain

    @staticmethod
    def trainable(tree):
        return True

    @staticmethod
    def blocks(free):
        return [free[None]], lambda blocks: blocks[0][0]


class Q:
    model = Landscape()

    def __init__(self, fn):
        self.fn = fn

    def __call__(self, params):
        return self.fn(params[0])


def step(fn, at, halvings=10):
    return float(mover(fn, halvings)(jnp.asarray([at]))[0])


@lru_cache
def mover(fn, halvings):
    return jax.jit(lambda at: Newton(halvings)(Q(fn), at, (), jax.random.key(0))[0])


def test_the_step_is_halved_until_it_rises():
    """A full Newton step on log cosh from far away overshoots by orders of magnitude."""
    fn = lambda x: -jnp.log(jnp.cosh(x))  # noqa: E731
    full = 2.0 - np.tanh(2.0) * np.cosh(2.0) ** 2
    assert fn(full) < fn(2.0)
    new = step(fn, 2.0)
    assert fn(new) > fn(2.0)
    shares = (2.0 - new) / (2.0 - full)
    np.testing.assert_allclose(np.log2(shares), np.round(np.log2(shares)), atol=1e-9)


def test_it_stays_where_nothing_rises():
    assert step(lambda x: jnp.where(x == 2.0, 0.0 * x, -jnp.inf) + x, 2.0) == 2.0
    assert step(lambda x: -jnp.log(jnp.cosh(x)), 2.0, halvings=0) == 2.0


def test_it_converges_quadratically():
    at, fn = 0.3, lambda x: -jnp.log(jnp.cosh(x - 0.1))
    for _ in range(4):
        at = step(fn, at)
    np.testing.assert_allclose(at, 0.1, atol=1e-12)
