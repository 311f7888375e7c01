"""Shapes of results that are traced once."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from jaxem.engine.shapes import result_shapes


class Scaled(eqx.Module):
    """A model as others may write it."""

    width: int = eqx.field(static=True)
    scale: Any = 1.0
    names: list[str] | tuple[str, ...] = eqx.field(static=True, default=())


TRACED = []


def doubled(model, x):
    TRACED.append(model)
    return jnp.concatenate([model.scale * x] * model.width)


def test_equal_models_are_traced_once():
    TRACED.clear()
    for width, length in ((2, 3), (2, 3), (3, 3), (2, 4)):
        assert result_shapes(doubled, Scaled(width), jnp.ones(length)).shape == (width * length,)
    assert len(TRACED) == 3


def test_models_with_arrays_and_fields_without_a_hash():
    for scale, names, length in ((jnp.ones(3), (), 6), (jnp.ones(()), (), 6), (1.0, ["a"], 6), (2.0, ["b"], 6)):
        assert result_shapes(doubled, Scaled(2, scale, names), jnp.ones(3)).shape[-1] == length
