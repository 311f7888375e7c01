"""What an information matrix determines, what it does not, and how far the maximum is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import linalg


class Spectrum(NamedTuple):
    """Directions of `p` coordinates along which the information and that of the complete data are independent.

    The covariance of the coordinates is `root @ root.T` on `m` directions that the data determine, and that from the
    complete data `complete_root @ complete_root.T` on the same.
    """

    root: Float[np.ndarray, "p m"]
    complete_root: Float[np.ndarray, "p m"]
    flat: Float[np.ndarray, "p l"]  # directions that the data do not determine, a standard error of complete data long
    void: Float[np.ndarray, "p v"]  # directions of length 1 that not even complete data would determine
    saddle: float  # the largest share of the complete information by which the objective is convex; 0 at a maximum
    decrement: float  # how many standard errors away the maximum is

    @property
    def num_flat(self) -> int:
        """The number of directions that are not determined."""
        return self.flat.shape[1] + self.void.shape[1]


def spectrum(observed: np.ndarray, complete: np.ndarray, gradient: np.ndarray, total: float, eps: float) -> Spectrum:
    """The spectrum of `observed` in units of `complete`, both `[p, p]`, with rounding errors of `eps`.

    A share of information counts as none below the error that rounding leaves, and below the curvature that the slope
    which is left makes along a symmetry: on an orbit of which the radius is that of `total` rows.
    """
    p = len(gradient)
    whiten, void, worst = _complete(complete, eps)
    rest, slope = whiten.T @ observed @ whiten, whiten.T @ gradient
    rounding = max(eps ** (2 / 3), 8 * np.sqrt(p) * eps / worst)
    floor = max(rounding, np.linalg.norm(slope) / np.sqrt(max(total, 1)))
    inner = _inverse_root(rest, floor)
    if inner is not None:  # all of it is determined
        root = whiten @ inner[0]
        return Spectrum(root, whiten, whiten[:, :0], void, 0.0, float(np.linalg.norm(root.T @ gradient)))
    shares, turned = np.linalg.eigh(rest)
    directions, slope = whiten @ turned, turned.T @ slope
    kept, below = shares > floor, shares < -floor
    return Spectrum(
        directions[:, kept] / np.sqrt(shares[kept]),
        directions[:, kept],
        directions[:, ~kept & ~below],
        void,
        float(-np.min(shares)) if below.any() else 0.0,
        float(np.sqrt(np.sum(slope[kept] ** 2 / shares[kept]))),
    )


def complete_root(complete: np.ndarray, eps: float) -> Float[np.ndarray, "p m"]:
    """Directions of which the square is the covariance from complete data, on what these determine."""
    return _complete(complete, eps)[0]


def _complete(complete: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, float]:
    """`w` such that `w.T @ complete @ w` is one, directions in which `complete` is none, and its least eigenvalue.

    The last is in units of the diagonal.
    """
    diagonal = np.diagonal(complete)
    known = diagonal > eps * np.max(diagonal, initial=0) * 1e-12
    units = np.where(known, 1 / np.sqrt(np.where(known, diagonal, 1)), 0)
    whiten, void, worst = _whitening(complete * np.outer(units, units), 8 * eps * np.sqrt(max(len(complete), 1)))
    whiten, void = units[:, None] * whiten, void * np.where(known, units, 1)[:, None]
    return whiten, void / np.maximum(np.linalg.norm(void, axis=0), np.finfo(float).tiny), worst


def _whitening(complete: np.ndarray, slack: float) -> tuple[np.ndarray, np.ndarray, float]:
    """`w` such that `w.T @ complete @ w` is one, directions in which `complete` is none, and its least eigenvalue."""
    found = _inverse_root(complete, slack)
    if found is not None:
        return found[0], np.zeros((len(complete), 0)), found[1]
    values, vectors = np.linalg.eigh(complete)
    there = values > slack
    return vectors[:, there] / np.sqrt(values[there]), vectors[:, ~there], float(np.min(values[there], initial=1))


def _inverse_root(matrix: np.ndarray, least: float) -> tuple[np.ndarray, float] | None:
    """`r` such that `r @ r.T` is the inverse of a matrix, if all of its eigenvalues are larger than `least`.

    And the smallest of them. By Cholesky's factor: an eigenvalue decomposition takes twenty times as long.
    """
    if not len(matrix):
        return matrix, 1.0
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    root = linalg.solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False).T
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


def moves(jacobian: np.ndarray, found: Spectrum, eps: float) -> np.ndarray:
    """Which of the numbers with this `jacobian`, `[m, p]`, a direction moves that the data do not determine, `[m]`."""
    if not found.num_flat:
        return np.zeros(len(jacobian), bool)
    slack = eps**0.25
    whole = np.concatenate([found.complete_root, found.flat], 1)
    along = np.linalg.norm(jacobian @ found.flat, axis=1) > slack * np.linalg.norm(jacobian @ whole, axis=1)
    return along | (np.linalg.norm(jacobian @ found.void, axis=1) > slack * np.linalg.norm(jacobian, axis=1))
