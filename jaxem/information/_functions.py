"""Functions of the parameters with their derivatives, and what is reported of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree
from scipy import sparse

from jaxem._coordinates import vector
from jaxem.engine.programs import program
from jaxem.information._directions import along


class Estimate(NamedTuple):
    """A function of the parameters: its `value` and `standard_error` (trees), and `covariance` of all its numbers."""

    value: PyTree
    standard_error: PyTree
    covariance: Float[np.ndarray, "m m"]


class Interval(NamedTuple):
    """Bounds `lower` and `upper` (trees like the parameters), and by a parameter's name the scale they are of."""

    lower: PyTree
    upper: PyTree
    scales: dict[str, str]


class Wald(NamedTuple):
    """A test: `statistic` is chi-square with so many `degrees_of_freedom` where the constraint holds."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


class Function(NamedTuple):
    """A function of the parameters: its value, derivatives `[m, p]`, spread and standard errors `[m]`.

    Derivatives may be a sparse matrix.
    """

    value: PyTree
    jacobian: Any
    spread: np.ndarray
    error: np.ndarray
    lost: np.ndarray


@program(quickly=True)
def derivatives(model: Any, params: PyTree, fn: Callable[[PyTree], PyTree]) -> tuple[PyTree, Array]:
    """The value of a function of the parameters, and its derivatives in the coordinates, `[m, p]`."""
    here, at = vector(model, params)

    def flat(u: Array) -> Array:
        return ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, u.dtype), fn(at(u))))[0]

    return fn(params), along(flat, here).T


def thin(jacobian: np.ndarray) -> Any:
    """The same as a sparse matrix, if most of it is 0: a parameter moves with few coordinates."""
    return sparse.csr_array(jacobian) if np.count_nonzero(jacobian) < 0.1 * jacobian.size else jacobian


def like(tree: PyTree, values: np.ndarray) -> PyTree:
    """Numbers in the order of `ravel_pytree` as a tree like `tree`, in its precision."""
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = [
        jnp.asarray(part.reshape(np.shape(leaf)), jnp.result_type(leaf))
        for part, leaf in zip(np.split(values, ends), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, parts)
