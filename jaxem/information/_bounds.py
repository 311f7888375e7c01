"""Coordinates that a bound of the model holds, where the objective would rise beyond it: a variance at its floor."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._algorithm import default_algorithm
from jaxem._coordinates import vector
from jaxem.engine.adjoint.equation import em_map
from jaxem.engine.door import question
from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.state import begin
from jaxem.information._matrices import Matrices
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.sums import unreduced

_WANTED, _STUCK = 0.03, 0.1  # standard errors that a step should take, and the share that it takes at most


def held(model: Any, params: PyTree, data: PyTree, weights: Any, found: Matrices) -> Float[np.ndarray, " p"]:
    """Which coordinates the M-step leaves where they are, although the gradient of Q would have them move."""
    moved = np.asarray(step(model, params, data, weights=weights), float)
    complete, gradient = np.asarray(found.complete, float), np.asarray(found.gradient, float)
    units = np.sqrt(np.maximum(np.diagonal(complete), 0))
    safe = np.where(units > 0, units, 1)
    wanted = np.linalg.lstsq(complete / np.outer(safe, safe), gradient / safe, rcond=None)[0]
    return (np.abs(wanted) > _WANTED) & (np.abs(moved * units) < _STUCK * np.abs(wanted))


@question
def step(model: Any, params: PyTree, data: PyTree, *, weights: Any = None) -> Float[Array, " p"]:
    """How far an iteration of EM moves the coordinates."""
    dtype = jax.tree.leaves(params)[0].dtype
    w = jnp.ones(num_rows(data), dtype) if weights is None else jnp.asarray(weights, dtype)
    problem = Problem.make(model.bind(data, w, unreduced), default_algorithm(model), data, w, tol=0.0, max_steps=0)
    problem = on_accurate_kernel(problem) or problem
    bound: Any = problem.model
    start = bound.encode(params)
    there = em_map(problem, start, begin(problem, start, jax.random.key(0)))
    return vector(model, bound.decode(there))[0] - vector(model, params)[0]
