"""Small things that concern the members of a model."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem._errors import DataError
from jaxem.families import AbstractFamily
from jaxem.kernels.linalg import trailing
from jaxem.structures._structure import AbstractStructure


def require_family(family: Any) -> None:
    """Raise `DataError` (a `ValueError`) for what is no family, with what to pass instead."""
    if isinstance(family, AbstractFamily):
        return
    if isinstance(family, type) and issubclass(family, AbstractFamily):
        raise DataError(f"family is the class {family.__name__}; pass an instance: {family.__name__}()")
    raise DataError(f"family must be a family of distributions such as jaxem.Gaussian(), got {family!r}")


def fill(rows: PyTree, share: Float[Array, "k n"], completed: PyTree) -> PyTree:
    """Rows whose NaN are the mean of those `completed` under each member, `[k, n, ...]`, weighted by its share."""

    def one(leaf, own):
        return jnp.where(jnp.isnan(leaf), jnp.sum(trailing(share, own) * own, 0), leaf)

    return jax.tree.map(one, rows, completed)


def frozen_members(structure: AbstractStructure, frozen: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names of the family's parameters among those that are `frozen`; `None` if all of them are."""
    members = structure.members
    if not members:
        return frozen
    if members in frozen:
        return None
    return tuple(name.removeprefix(f"{members}.") for name in frozen if name.startswith(f"{members}."))
