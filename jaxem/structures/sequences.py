"""Sequences of rows, and what drives the transitions of their states."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxem._errors import DataError
from jaxem.engine.convert import as_data
from jaxem.families.responses import Responses
from jaxem.kernels.linalg import trailing
from jaxem.kernels.rows import row_at


class Sequences(NamedTuple):
    """Sequences of rows, padded to a common length `T`.

    - `values`: `[n, T, d]`, or a tree of arrays with leading axes `[n, T]` for families that take one, such as
        `jaxem.Responses` or `jaxem.Interval`.
    - `lengths`: integers `[n]`, from 1 to `T`; `None` if all are `T`. What is in `values` beyond does not matter.
    - `observed`: `[n, T]`, false at the steps of which nothing was observed; `None` if there are none but those whose
        row (of a regression, whose response) is NaN throughout.

    **Example**

    >>> import numpy as np, jaxem
    >>> data = jaxem.Sequences.of([np.zeros((3, 2)), np.ones((5, 2))])
    >>> data.values.shape, data.lengths.tolist()
    ((2, 5, 2), [3, 5])
    """

    values: PyTree
    lengths: Int[Array, " n"] | None = None
    observed: Any = None

    integers = ("lengths",)

    @staticmethod
    def of(sequences: Sequence[Any], observed: Sequence[Any] | None = None) -> "Sequences":
        """From a list of arrays `[T_i, d]` (or of trees of arrays with leading axis `T_i`), and of masks `[T_i]`."""
        if not len(sequences):
            raise DataError("there are no sequences")
        tables = [
            jax.tree.map(np.asarray, as_data(sequence, f"sequences[{i}]")) for i, sequence in enumerate(sequences)
        ]
        lengths = []
        for i, table in enumerate(tables):
            shapes = [leaf.shape for leaf in jax.tree.leaves(table)]
            least = 2 if isinstance(table, np.ndarray) else 1
            short = any(len(shape) < least or 0 in shape for shape in shapes)
            if short or len({shape[0] for shape in shapes}) != 1 or not shapes[0][0]:
                shape = shapes[0] if len(shapes) == 1 else shapes
                raise DataError(
                    f"sequences: number {i} has shape {shape}; each must be a table [steps, columns] of at least one "
                    "step (for a single column pass x[:, None])"
                )
            lengths.append(shapes[0][0])
        if observed is not None and [np.shape(mask) for mask in observed] != [(length,) for length in lengths]:
            raise DataError("observed must have a mask for each sequence, with an entry for each of its steps")
        longest = max(lengths)

        def padded(*leaves: np.ndarray) -> np.ndarray:
            if len({leaf.shape[1:] for leaf in leaves}) > 1:
                raise DataError(f"sequences differ in their columns: {sorted({leaf.shape[1:] for leaf in leaves})}")
            out = np.zeros((len(leaves), longest, *leaves[0].shape[1:]), np.result_type(*leaves))
            for row, leaf in zip(out, leaves, strict=True):
                row[: leaf.shape[0]] = leaf
            return out

        masks = None if observed is None else padded(*(np.asarray(mask, bool) for mask in observed))
        equal = len(set(lengths)) == 1
        return Sequences(jax.tree.map(padded, *tables), None if equal else np.array(lengths, np.int32), masks)  # pyright: ignore[reportArgumentType]

    @property
    def shape(self) -> tuple[int, int]:
        """How many sequences there are, and how many steps they are padded to."""
        n, steps, *_ = jax.tree.leaves(self.values)[0].shape
        return n, steps

    def ended(self) -> Bool[Array, "n T"] | None:
        """Which steps come after the end of their sequence; `None` where none can."""
        if self.lengths is None:
            return None
        xp: Any = np if isinstance(self.lengths, np.ndarray) else jnp
        steps = xp.arange(self.shape[1], dtype=np.int32)
        return steps[None, :] >= xp.asarray(self.lengths).astype(np.int32)[:, None]

    def seen(self) -> Bool[Array, "n T"]:
        """The steps that have an observation."""
        leaves = jax.tree.leaves(_responses(self.values))
        xp: Any = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp  # the door looks on the host
        found = xp.zeros(self.shape, bool)
        for leaf in map(xp.asarray, leaves):
            found = found | xp.any(~xp.isnan(leaf), tuple(range(2, leaf.ndim)))
        if self.observed is not None:
            found = found & xp.asarray(self.observed).astype(bool)
        ended = self.ended()
        return found if ended is None else found & ~ended

    def rows(self, seen: Bool[Array, "n T"]) -> PyTree:
        """All steps as one table, one sequence after the other; those that are not `seen` as the first that is (or as
        1/2 if none is).

        Sequences that are spread over devices leave their steps there: with the first steps first none would.
        """
        n, steps = self.shape
        flat = seen.reshape(-1)
        index, some = jnp.argmax(flat), jnp.any(flat)

        def table(leaf: Array) -> Array:
            rows = jnp.asarray(leaf).reshape(n * steps, *leaf.shape[2:])
            fill = jnp.where(some, row_at(rows, index), jnp.asarray(0.5, rows.dtype))
            return jnp.where(trailing(flat, rows), rows, fill[None])

        return jax.tree.map(table, self.values)

    def check_shape(self) -> None:
        """Raise `DataError` for shapes that do not fit together."""
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(self.values)]
        least = 2 if isinstance(self.values, dict | tuple) else 3
        if any(len(shape) < least for shape in shapes) or len({shape[:2] for shape in shapes}) != 1:
            raise DataError(
                f"values must have shape [sequences, steps, columns], got {shapes[0] if len(shapes) == 1 else shapes}; "
                "for one sequence pass x[None], for a single column x[..., None]"
            )
        n, steps = shapes[0][:2]
        if n == 0 or steps == 0:
            raise DataError(f"values is empty: shape {shapes[0]}")
        for name, array, shape in (("lengths", self.lengths, (n,)), ("observed", self.observed, (n, steps))):
            if array is not None and np.shape(array) != shape:
                raise DataError(f"{name} must have shape {shape}, got {np.shape(array)}")

    def check(self) -> None:
        """Raise `DataError` for shapes and lengths that do not fit together; on the host."""
        self.check_shape()
        n, steps = self.shape
        if self.lengths is not None:
            lengths = np.asarray(self.lengths)
            if lengths.dtype.kind not in "iu":
                raise DataError(f"lengths must be {n} integers, got {lengths.dtype}")
            wrong = np.flatnonzero((lengths < 1) | (lengths > steps))
            if wrong.size:
                raise DataError(f"lengths: sequence {wrong[0]} has length {lengths[wrong[0]]}, not one of 1 to {steps}")
        if self.observed is not None:
            observed = np.asarray(self.observed)
            if not np.isin(observed, (0, 1)).all():
                raise DataError("observed must be true or false (1 or 0) for every step")


def _responses(values: PyTree) -> PyTree:
    """What is random of a step: all but the covariates of a regression."""
    regression = lambda node: isinstance(node, Responses)  # noqa: E731
    return jax.tree.map(lambda node: node.y if regression(node) else node, values, is_leaf=regression)


def as_sequences(data: PyTree) -> Sequences:
    """`data` if it says how long its sequences are; otherwise all are as long as the array."""
    return data if isinstance(data, Sequences) else Sequences(data)


class Driven(NamedTuple):
    """Sequences, and what drives the transitions of their states.

    - `rows`: `[n, T, d]`, or `jaxem.Sequences`.
    - `covariates`: `[n, T, q]`, those of a step for the transition into it. Those of the first step, and beyond the
        end of a sequence, do not matter; all others must be known, also where nothing was observed of a step. They are
        taken as they are: a constant term is a column of ones.

    **Example**

    >>> import numpy as np
    >>> from jaxem.models import Driven
    >>> month = np.arange(24)[None]
    >>> season = np.stack([np.ones((1, 24)), np.cos(month * np.pi / 6), np.sin(month * np.pi / 6)], 2)
    >>> Driven(np.zeros((1, 24, 1)), season).covariates.shape
    (1, 24, 3)
    """

    rows: PyTree
    covariates: Float[Array, "n T q"]

    def check_shape(self) -> None:
        """Raise `DataError` for covariates that do not fit the sequences."""
        shape, found = as_sequences(self.rows).shape, np.shape(self.covariates)
        if len(found) != 3 or found[:2] != shape or found[2] == 0:
            raise DataError(
                f"data.covariates must have shape [sequences, steps, columns], here {(*shape, 'q')}, got {found}"
            )

    def moving(self) -> Any:
        """The transitions there are, `[n, T - 1]`: into steps after the first, up to the end."""
        n, steps = as_sequences(self.rows).shape
        ended = as_sequences(self.rows).ended()
        return np.ones((n, steps - 1), bool) if ended is None else ~ended[:, 1:]

    def check(self) -> np.ndarray:
        """The covariates of all transitions, `[m, q]`; raises `DataError` where one is not finite. On the host."""
        self.check_shape()
        x, there = np.asarray(self.covariates), np.asarray(self.moving())
        wrong = np.argwhere(~np.isfinite(x[:, 1:]) & there[:, :, None])
        if len(wrong):
            row, step, column = (int(i) for i in wrong[0])
            raise DataError(
                f"data.covariates: step {step + 1} of sequence {row}, column {column} has value "
                f"{float(x[row, step + 1, column])!r}, which is not finite; the covariates of all transitions must be "
                "known"
            )
        return x[:, 1:][there]


def steps_of(data: PyTree) -> Sequences:
    """The sequences in `data`, with covariates of transitions or without."""
    return as_sequences(data.rows if isinstance(data, Driven) else data)


def lengthened(data: PyTree, grid: Callable[[int], int]) -> tuple[PyTree, int]:
    """Sequences with `grid(T)` steps in the place of `T`, and how many were added to each; on the host.

    Their lengths are known then, whether they were all the same or not.
    """
    sequences = steps_of(data)
    n, steps = sequences.shape
    added = grid(steps) - steps

    def padded(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return np.pad(leaf, [(0, 0), (0, added), *[(0, 0)] * (leaf.ndim - 2)])

    lengths: Any = np.full(n, steps, np.int32) if sequences.lengths is None else sequences.lengths
    observed = None if sequences.observed is None else padded(sequences.observed)
    longer = Sequences(jax.tree.map(padded, sequences.values), lengths, observed)
    return Driven(longer, padded(data.covariates)) if isinstance(data, Driven) else longer, added


def transition_covariates(data: PyTree) -> Float[Array, "n s q"] | None:
    """The covariates of the transitions, 0 where there is none; `None` where the data have none."""
    if not isinstance(data, Driven):
        return None
    return jnp.where(data.moving()[:, :, None], jnp.asarray(data.covariates)[:, 1:], 0)


def transition_weights(data: PyTree, weights: Float[Array, " n"]) -> Float[Array, "n s"] | None:
    """The weights of the transitions, given those of the sequences; `None` where the data have no covariates."""
    return jnp.where(data.moving(), weights[:, None], 0) if isinstance(data, Driven) else None
