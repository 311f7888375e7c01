"""Coordinates of a family that says where its parameters lie, and no more."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.families import AbstractFamily


class Levels(NamedTuple):
    share: Any
    rate: Any
    free: Any


class Plain(AbstractFamily):
    """A family that says no more than where its parameters lie."""

    parameters = Levels._fields

    @property
    def domains(self):
        return {"share": "simplex", "rate": "nonnegative"}

    def natural(self, params): ...
    def from_points(self, points, x, weights): ...
    def sample(self, key, params, labels): ...
    def check(self, x, name="data"): ...


class Silent(Plain):
    domains = AbstractFamily.domains


def test_coordinates_follow_from_where_parameters_lie():
    params = Levels(jnp.array([[0.2, 0.3, 0.5]]), jnp.array([[0.0, 4.0]]), jnp.array([-1.0]))
    free = Plain().unconstrain(params)
    assert free.share.shape == (1, 2)
    np.testing.assert_allclose(free.rate[0, 1], np.log(4.0))
    assert free.free == params.free
    for back, value in zip(Plain().constrain(free), params, strict=True):
        np.testing.assert_allclose(back, value, rtol=1e-12)
    with pytest.raises(NotImplementedError, match="Silent defines neither `domains` nor `unconstrain`"):
        Silent().unconstrain(params)
