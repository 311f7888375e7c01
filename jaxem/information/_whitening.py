"""Inverse roots of information matrices, of which those of complete data fall into blocks."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import linalg, sparse
from scipy.sparse import csgraph

_WHOLE, _LEAST = 200, 64  # coordinates of a matrix that is not looked through for blocks, and of a block


class Whitening(NamedTuple):
    """`w`, `[p, m]`, such that `w.T @ matrix @ w` is one; `rows` of it, `columns` and numbers of each block.

    `void`, `[p, v]`, are directions of length 1 in which the matrix is none, and `least` is its smallest eigenvalue
    besides, in units of the diagonal.
    """

    rows: list[np.ndarray]
    columns: list[slice]
    parts: list[np.ndarray]
    void: Float[np.ndarray, "p v"]
    least: float

    def __matmul__(self, other: np.ndarray) -> np.ndarray:
        found = np.zeros((len(self.void), other.shape[1]))
        for rows, columns, part in zip(*self[:3], strict=True):
            found[rows] = part @ other[columns]
        return found

    def whole(self) -> Float[np.ndarray, "p m"]:
        """All of `w`."""
        found = np.zeros((len(self.void), self._size))
        for rows, columns, part in zip(*self[:3], strict=True):
            found[rows, columns] = part
        return found

    @property
    def _size(self) -> int:
        return self.columns[-1].stop if self.columns else 0

    def transposed(self, other: np.ndarray) -> np.ndarray:
        """`w.T @ other`."""
        found = np.zeros((self._size, *other.shape[1:]))
        for rows, columns, part in zip(*self[:3], strict=True):
            found[columns] = part.T @ other[rows]
        return found


def whitening(matrix: Float[np.ndarray, "p p"], eps: float) -> Whitening:
    """That of an information matrix with rounding errors of `eps`."""
    diagonal = np.diagonal(matrix)
    known = diagonal > eps * np.max(diagonal, initial=0) * 1e-12
    units = np.where(known, 1 / np.sqrt(np.where(known, diagonal, 1)), 0)
    slack = 8 * eps * np.sqrt(max(len(matrix), 1))
    blocks, columns, parts, smallest, end = _blocks(matrix), [], [], 1.0, 0
    void = [np.zeros((len(matrix), 0))]
    for rows in blocks:
        own = units[rows]
        part, lost, least = _whitened(matrix[np.ix_(rows, rows)] * np.outer(own, own), slack)
        columns.append(slice(end, end + part.shape[1]))
        parts.append(own[:, None] * part)
        smallest, end = min(smallest, least), columns[-1].stop
        if lost.shape[1]:
            void.append(np.zeros((len(matrix), lost.shape[1])))
            void[-1][rows] = lost * np.where(known, units, 1)[rows, None]
    lost = np.concatenate(void, 1)
    lost = lost / np.maximum(np.linalg.norm(lost, axis=0), np.finfo(float).tiny)
    return Whitening(blocks, columns, parts, lost, smallest)


def _blocks(matrix: np.ndarray) -> list[np.ndarray]:
    """Coordinates that have nothing to do with those of another block, a few small blocks in one."""
    p = len(matrix)
    if p <= _WHOLE:
        return [np.arange(p)]
    number, label = csgraph.connected_components(sparse.csr_array(matrix), directed=False)
    ends = np.cumsum(np.bincount(label, minlength=number))
    order = np.argsort(label, kind="stable")
    _, cuts = np.unique(ends // _LEAST, return_index=True)
    return [np.sort(part) for part in np.split(order, ends[cuts[1:] - 1]) if len(part)]


def _whitened(matrix: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray, float]:
    """`w` such that `w.T @ matrix @ w` is one, directions in which the matrix is none, and its least eigenvalue."""
    found = inverse_root(matrix, slack)
    if found is not None:
        return found[0], np.zeros((len(matrix), 0)), found[1]
    values, vectors = np.linalg.eigh(matrix)
    there = values > slack
    return vectors[:, there] / np.sqrt(values[there]), vectors[:, ~there], float(np.min(values[there], initial=1))


def inverse_root(matrix: np.ndarray, least: float) -> tuple[np.ndarray, float] | None:
    """`r` such that `r @ r.T` is the inverse of a matrix, if all of its eigenvalues are larger than `least`.

    And the smallest of them. By Cholesky's factor: an eigenvalue decomposition takes twenty times as long.
    """
    if not len(matrix):
        return matrix, 1.0
    potrf, trtri = linalg.get_lapack_funcs(("potrf", "trtri"), (matrix,))
    factor, failed = potrf(matrix, lower=1)
    if failed:
        return None
    root = trtri(factor, lower=1, overwrite_c=1)[0].T
    smallest = 1 / _largest(root)
    return (root, smallest) if smallest > 2 * least else None


def _largest(root: np.ndarray) -> float:
    """The largest eigenvalue of `root @ root.T`, by the power method: a digit or two, and at least 1."""
    vector, size = np.random.default_rng(0).standard_normal(len(root)), 1.0
    for _ in range(30):
        vector = root @ (root.T @ (vector / max(np.linalg.norm(vector), np.finfo(float).tiny)))
        before, size = size, max(float(np.linalg.norm(vector)), 1.0)
        if abs(size - before) < 1e-3 * size:
            break
    return size
