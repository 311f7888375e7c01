"""Probability vectors some of whose entries are fixed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem import _bijections as bijections

Fixed = tuple[tuple[float | None, ...], ...]


def as_fixed(pattern: Any, name: str, rows: int, columns: int) -> Fixed | None:
    """A hashable form of a pattern `[rows, columns]` with NaN for what is free; raises `ValueError` for one that no
    probabilities can have."""
    if pattern is None:
        return None
    entries = np.atleast_2d(np.asarray(pattern, object))
    table = np.array([[np.nan if p is None else p for p in row] for row in entries], float)
    if table.shape != (rows, columns):
        shape = (rows, columns) if rows > 1 else (columns,)
        raise ValueError(f"{name} must have shape {shape}, got {np.shape(pattern)}")
    for row, entries in enumerate(table):
        given = entries[~np.isnan(entries)]
        where = f"{name}, row {row}" if rows > 1 else name
        if (given < 0).any() or given.sum() > 1 + 1e-6:
            raise ValueError(f"{where}: fixed entries must be probabilities, and add up to at most 1, got {entries}")
        if given.size == columns and abs(given.sum() - 1) > 1e-6:
            raise ValueError(f"{where}: all entries are fixed, but add up to {given.sum():.6g}")
        if 0 < given.size < columns and given.sum() >= 1:
            raise ValueError(f"{where}: nothing is left for the entries that are free, got {entries}; fix those at 0")
    return tuple(tuple(None if np.isnan(p) else float(p) for p in row) for row in table)


class Rows(NamedTuple):
    """Rows of probabilities `[r, k]` with this pattern; `None` leaves all of them free."""

    fixed: Fixed | None
    shape: tuple[int, int]

    def _table(self) -> np.ndarray:
        if self.fixed is None:
            return np.full(self.shape, np.nan)
        return np.array([[np.nan if p is None else p for p in row] for row in self.fixed])

    def free(self) -> np.ndarray:
        """Which entries are free."""
        return np.isnan(self._table())

    def fit(self, p: Float[Array, "r k"]) -> Float[Array, "r k"]:
        """`p` with the fixed entries in place, and the free ones of each row sharing what is left in proportion;
        equally where they are 0."""
        if self.fixed is None:
            return p
        free, table = self.free(), self._table()
        left = jnp.asarray(1 - np.where(free, 0, table).sum(1), p.dtype)[:, None]
        own = jnp.where(free, p, 0)
        total = jnp.sum(own, 1, keepdims=True)
        equal = jnp.asarray(free / np.maximum(free.sum(1, keepdims=True), 1), p.dtype)
        share = jnp.where(total > 0, own / jnp.where(total > 0, total, 1), equal)
        return jnp.where(free, left * share, jnp.asarray(np.where(free, 0, table), p.dtype))

    def estimate(self, counts: Float[Array, "r k"], current: Float[Array, "r k"]) -> Float[Array, "r k"]:
        """The rows that maximise `sum(counts * log(p))`; a row without counts stays, and so does one whose counts are
        as nothing beside the others': the derivative of a quotient has the square of the divisor, which would vanish.
        """
        counts = jnp.where(self.free(), counts, 0)
        total = jnp.sum(counts, 1, keepdims=True)
        some = total > jnp.sqrt(jnp.finfo(counts.dtype).tiny) * jnp.sum(total)
        counts = counts / jax.lax.stop_gradient(jnp.where(some, total, 1))
        share = jnp.where(some, counts / jnp.where(some, jnp.sum(counts, 1, keepdims=True), 1), current)
        return jnp.where(some, self.fit(share), current)

    def unconstrain(self, p: Float[Array, "r k"]) -> Float[Array, " m"]:
        """Log-ratios of the free entries of each row to its last one."""
        row, column, last = self._coordinates()
        logs = bijections.log_to_free(p)
        top = jnp.max(jnp.where(self.free(), logs, -jnp.inf), 1)
        return bijections.log_ratio_to_free(logs[row, column], logs[row, last[row]], top[row])

    def constrain(self, free: Float[Array, " m"]) -> Float[Array, "r k"]:
        """The inverse of `unconstrain`."""
        row, column, _ = self._coordinates()
        base = jnp.asarray(np.where(self.free(), 0.0, -np.inf), free.dtype)
        logits = base.at[row, column].set(free)
        top = jax.lax.stop_gradient(jnp.max(logits, 1, keepdims=True))
        p = jnp.exp(logits - jnp.where(jnp.isfinite(top), top, 0))
        total = jnp.sum(p, 1, keepdims=True)
        return self.fit(p / jnp.where(total > 0, total, 1))

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        free = self.free()
        last = np.array([np.flatnonzero(row)[-1] if row.any() else 0 for row in free])
        row, column = np.nonzero(free)
        moving = column != last[row]
        return row[moving], column[moving], last

    def to_free(self, p: Float[Array, "r k"]) -> Array:
        """Coordinates `[r, k - 1]`, or of free entries alone, `[m]`, where there is a pattern."""
        return bijections.simplex_to_free(p) if self.fixed is None else self.unconstrain(p)

    def from_free(self, free: Array) -> Float[Array, "r k"]:
        """The inverse of `to_free`."""
        return bijections.free_to_simplex(free) if self.fixed is None else self.constrain(free)


def stationary(transition: Float[Array, "k k"]) -> Float[Array, " k"]:
    """The stationary distribution, by elimination without subtractions (Grassmann, Taksar and Heyman 1985)."""
    k, eps = transition.shape[0], jnp.finfo(transition.dtype).eps
    a, columns = transition, []
    for i in range(k - 1, 0, -1):
        leaves = jnp.maximum(jnp.sum(a[i, :i]), eps**2)
        into = a[:i, i] / leaves
        a = a[:i, :i] + into[:, None] * a[i, :i][None]
        columns.append(into)
    p = jnp.ones(1, transition.dtype)
    for into in reversed(columns):
        p = jnp.concatenate([p, jnp.sum(p * into)[None]])
        p = p / jnp.sum(p)
    return p
