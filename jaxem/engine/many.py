"""Several problems that differ in their numbers alone, such as data, weights or priors, as one."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxem.engine.problem import Problem, on_accurate_kernel
from jaxem.engine.trees import first_of
from jaxem.kernels.chunks import num_rows


class Many(eqx.Module):
    """Problems `0 ... count - 1`, and that of each lane.

    **Arguments:**

    - `own`: the arrays that each problem has for itself, with a leading axis of problems.
    - `common`: everything else.
    - `restarts`: how many starts each problem has, which follow one another.
    - `which`: the problem of each lane, or of as many lanes in a row as there are for each number.
    - `accurate`: whether the problems are on the accurate kernel of their model.
    - `in_a_row`: how many of the starts that are begun in their order, from a multiple of it on, have one problem. Its
        data are read, and what depends on them alone is worked out, once for those of them that go side by side.
    """

    own: PyTree
    common: PyTree
    restarts: Array
    which: Int[Array, " lanes"]
    accurate: bool = eqx.field(static=True, default=False)
    in_a_row: int = eqx.field(static=True, default=1)

    @staticmethod
    def of(problem: Problem, own: tuple[str, ...], restarts: int) -> "Many":
        """From a problem of which the arrays in the fields `own` have a leading axis of problems."""
        apart = {name: jax.tree.map(eqx.is_array, getattr(problem, name)) for name in own}
        spec = dataclasses.replace(jax.tree.map(lambda _: False, problem), **apart)
        return Many(*eqx.partition(problem, spec), np.asarray(restarts, np.int32), np.zeros(1, np.int32))  # pyright: ignore[reportArgumentType]

    # As of a problem

    @property
    def model(self) -> Any:
        """The model of all; of its arrays, each problem's may have a leading axis."""
        model = eqx.combine(self.own, self.common).model
        return (model.accurate() or model) if self.accurate else model

    @property
    def data(self) -> PyTree:
        """The data of all; each problem's own have a leading axis."""
        return eqx.combine(self.own, self.common).data

    @property
    def max_steps(self) -> Array:
        return self.common.max_steps

    @property
    def block(self) -> int:
        return self.common.block

    @property
    def dtype(self) -> Any:
        return self.common.tol.dtype

    @property
    def num_rows(self) -> int:
        """Rows of each problem."""
        shared = jax.tree.leaves(self.common.data)
        return num_rows(shared) if shared else jax.tree.leaves(self.own.data)[0].shape[1]

    def each_lane(self, fn: Callable, *args: PyTree) -> PyTree:
        """`fn(problem, *arg)` for each lane, with its problem."""
        rows, lanes = self.which.shape[0], jax.tree.leaves(args)[0].shape[0]
        if rows == lanes:
            return jax.vmap(lambda i, *args: fn(self.at(i), *args))(self.which, *args)

        def row(i: Array, *args: PyTree) -> PyTree:
            problem = self.at(i)
            return jax.vmap(lambda *args: fn(problem, *args))(*args)

        args = jax.tree.map(lambda leaf: leaf.reshape(rows, lanes // rows, *leaf.shape[1:]), args)
        found = jax.vmap(row)(self.which, *args)
        return jax.tree.map(lambda leaf: leaf.reshape(lanes, *leaf.shape[2:]), found)

    def of_starts(self, starts: Any) -> "Many":
        """With the problems of these starts in the lanes; any problem where there is none, which is negative."""
        return dataclasses.replace(self, which=starts.clip(0).astype(np.int32) // self.restarts)

    def of_starts_in_order(self, starts: Any) -> "Many":
        """The same where lanes have those that were begun in their order, or none any more."""
        return self.of_starts(starts.reshape(-1, math.gcd(len(starts), self.in_a_row)).max(1))

    def in_chunks(self, rows: int) -> "Many":
        """With so many rows in a chunk."""
        return self._both(lambda part: dataclasses.replace(part, chunk_rows=rows))

    def for_lanes(self, lanes: int) -> "Many":
        """With the model for so many runs on common data."""
        return self._both(lambda part: dataclasses.replace(part, model=part.model.for_lanes(lanes)))

    def _both(self, change: Callable) -> "Many":
        return dataclasses.replace(self, own=change(self.own), common=change(self.common))

    def on_accurate_kernel(self) -> "Many":
        """The same problems on the accurate kernel of their model."""
        return dataclasses.replace(self, accurate=True)

    # Each by itself

    def at(self, i: Any) -> Problem:
        """The problem `i`."""
        return self._of(eqx.combine(jax.tree.map(lambda leaf: leaf[i], self.own), self.common))

    def first(self) -> Problem:
        """The first problem, taken on the host, before it is on the accurate kernel."""
        return eqx.combine(first_of(self.own), self.common)

    def _of(self, problem: Problem) -> Problem:
        return (on_accurate_kernel(problem) or problem) if self.accurate else problem
