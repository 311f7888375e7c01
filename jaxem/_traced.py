"""What is traced: arguments of functions of the host, and leaves that a function looks at."""

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jaxtyping import PyTree

from jaxem._errors import DataError


def require_concrete(entry: str, instead: str, **arguments: Any) -> None:
    """Raise `DataError` where an argument of the function `entry` has no values yet; `instead` is what to use there."""
    for name, argument in arguments.items():
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(argument)):
            raise DataError(
                f"{name} is traced: {entry} was called inside jax.jit, jax.grad or jax.vmap, but looks at values on "
                f"the host; use {instead} there"
            )


def leaves_used(fn: Callable[[PyTree], Any], tree: PyTree) -> PyTree:
    """A tree of booleans like `tree`: false for leaves that `fn(tree)` does not depend on.

    Looks at the traced program, in which a call counts as depending on all that it is given.
    """
    program: Any = jax.make_jaxpr(fn)(tree).jaxpr
    used = {id(variable) for variable in program.outvars}
    for equation in reversed(program.eqns):
        if any(id(variable) in used for variable in equation.outvars):
            used.update(id(variable) for variable in equation.invars)
    return jax.tree.unflatten(jax.tree.structure(tree), [id(variable) in used for variable in program.invars])
