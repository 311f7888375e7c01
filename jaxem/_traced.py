"""Functions of the host say so when they are called inside a transformation of JAX."""

from typing import Any

import jax
from jax.core import Tracer

from jaxem._errors import DataError


def require_concrete(entry: str, instead: str, **arguments: Any) -> None:
    """Raise `DataError` where an argument of the function `entry` has no values yet; `instead` is what to use there."""
    for name, argument in arguments.items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(argument)):
            raise DataError(
                f"{name} is traced: {entry} was called inside jax.jit, jax.grad or jax.vmap, but looks at values on "
                f"the host; use {instead} there"
            )
