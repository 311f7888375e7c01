"""What stays the same during a run: the model, the algorithm, the data, and when to stop."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._algorithm import Algorithm
from jaxem._bound import AbstractBound, rows_per_chunk
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.sums import Reduce, unreduced, weighted_sum
from jaxem.termination import AbstractTermination


class Problem(eqx.Module):
    """Everything that stays the same during a run."""

    model: AbstractBound  # bound to the data
    algorithm: Algorithm
    termination: AbstractTermination
    data: PyTree
    weights: Array
    total_weight: Array
    base: Array
    tol: Array
    max_steps: Array
    chunk_rows: int | None = eqx.field(static=True)
    reduce: Reduce = eqx.field(static=True)
    block: int = eqx.field(static=True)  # rows that lie together: chunks are of whole blocks
    moves_on: bool = eqx.field(static=True)  # a run that loses too many digits stops, to go on on the accurate kernel

    @staticmethod
    def make(
        model: AbstractBound,
        algorithm: Algorithm,
        data: PyTree,
        weights: Array,
        *,
        tol: Any,
        max_steps: Any,
        termination: AbstractTermination | None = None,
        chunk_rows: int | None = None,
        reduce: Reduce = unreduced,
        block: int = 1,
        moves_on: bool = True,
    ) -> "Problem":
        """A problem for a `model` that has been bound to the data."""
        dtype = weights.dtype
        total, base = reduce((jnp.sum(weights), _base(model, data, weights)))
        return Problem(
            model,
            algorithm,
            termination or algorithm.termination(),
            data,
            weights,
            total,
            base,
            jnp.asarray(tol, dtype),
            jnp.asarray(max_steps, jnp.int32),
            chunk_rows,
            reduce,
            block,
            moves_on and model.accurate() is not None,
        )

    @property
    def dtype(self) -> Any:
        return self.weights.dtype

    @property
    def num_rows(self) -> int:
        return num_rows(self.data)

    def each_lane(self, fn: Callable, *args: PyTree) -> PyTree:
        """`fn(problem, *arg)` for each lane."""
        return jax.vmap(lambda *args: fn(self, *args))(*args)

    def of_starts(self, starts: Any) -> "Problem":
        """The problem of lanes with these starts: the same for all."""
        return self

    of_starts_in_order = of_starts

    def in_chunks(self, rows: int) -> "Problem":
        """With so many rows in a chunk."""
        return dataclasses.replace(self, chunk_rows=rows)

    def chunk(self, params: PyTree) -> int:
        """Rows in a chunk."""
        return self.chunk_rows or rows_per_chunk(self.model, params, num_rows(self.data), block=self.block)


def on_accurate_kernel(problem: Problem) -> Problem | None:
    """The same problem on the model's accurate kernel, if it has one."""
    model = problem.model.accurate()
    if model is None:
        return None
    # The kernels may divide a density differently between what depends on the parameters and what does not.
    base = problem.reduce(_base(model, problem.data, problem.weights))
    return dataclasses.replace(problem, model=model, base=base, moves_on=False)


def _base(model: AbstractBound, data: PyTree, weights: Array) -> Array:
    return weighted_sum(weights, model.log_base(data).astype(weights.dtype))
