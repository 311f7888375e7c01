"""Weights of some of the members: the others have no weight, no row and no say."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.structures.up_to import UpTo
from jaxem.structures.weights import Weights

SOME = UpTo(5, jnp.int32(3))


def test_a_start_has_the_first_members():
    weights, alive = SOME.even(jnp.float64)
    assert alive.tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 0, 0])
    assert UpTo(2).even(jnp.float64)[1].tolist() == [1, 1]


@pytest.mark.parametrize("weights", [[0.2, 0.5, 0.3], [0.0, 0.4, 0.6], [0.3, 0.7, 0.0], [0.0, 1.0, 0.0]])
def test_coordinates_are_those_of_the_members_that_are_there(weights):
    alone = Weights(3).unconstrain((jnp.array(weights),))[0]
    alive = SOME.even(jnp.float64)[1]
    free = SOME.unconstrain((jnp.array([*weights, 0.0, 0.0]), alive))
    np.testing.assert_array_equal(free[0][:2], alone)
    assert free[0][2] == 0
    back = SOME.constrain(free)
    np.testing.assert_allclose(back[0], [*weights, 0, 0], rtol=1e-9)
    assert back[0][np.array([*weights, 0.0, 0.0]) == 0].tolist() == [0.0] * (2 + weights.count(0.0))
    np.testing.assert_array_equal(back[1], alive)


def test_a_member_is_lost_only_if_it_was_there():
    alive = SOME.even(jnp.float64)[1]
    assert not SOME.degenerate((jnp.array([0.2, 0.5, 0.3, 0.0, 0.0]), alive))
    assert SOME.degenerate((jnp.array([0.2, 0.8, 0.0, 0.0, 0.0]), alive))


def test_the_m_step_keeps_who_is_there():
    alive = SOME.even(jnp.float64)[1]
    weights, still = SOME.maximize((jnp.array([2.0, 6.0, 8.0, 0.0, 0.0]),), (jnp.ones(5) / 5, alive), ())
    np.testing.assert_allclose(weights, [1 / 8, 3 / 8, 1 / 2, 0, 0])
    np.testing.assert_array_equal(still, alive)
