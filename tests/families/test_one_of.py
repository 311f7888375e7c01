"""Members that are unlike, each from a family of its own."""

import jax
import jax.numpy as jnp
import pytest

import jaxem
from jaxem.families import OneOf, PointMass
from tests.helpers import engine

COUNTS = [[0.0], [0.0], [0.0], [0.0], [3.0], [5.0], [4.0]]


def test_a_start_leaves_no_row_impossible(dtype):
    """Whichever member the zeros are given to at first."""
    model = jaxem.Mixture(OneOf(zero=PointMass(0.0), count=jaxem.Poisson()), num_components=2)
    for seed in range(4):
        fit = jaxem.fit(model, jnp.asarray(COUNTS, dtype), key=jax.random.key(seed))
        assert engine.name(fit) == "converged"
        assert float(fit.params.components["count"].rate[0, 0]) == pytest.approx(3.92, abs=0.01)
