"""A gate for derivatives: the identity, through which none passes that is not finite."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree


def finite_derivative(tree: PyTree) -> PyTree:
    """The same numbers. A derivative with respect to them is 0 as a whole if any number of it is not finite.

    The numbers themselves must be finite. In a batch each problem is judged by itself, in forward mode and in reverse.
    """
    numbers, rest = eqx.partition(tree, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(numbers)

    def solve(_, values: Array) -> Array:
        return jnp.where(jnp.all(jnp.isfinite(values)), values, 0)

    # To JAX the solution of a linear equation, with a transpose of its own; the matrix is the identity.
    return eqx.combine(unravel(jax.lax.custom_linear_solve(lambda values: values, flat, solve, solve)), rest)
