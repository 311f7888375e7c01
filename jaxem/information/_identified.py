"""What an information matrix determines, what it does not, and how far the maximum is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Spectrum(NamedTuple):
    """Directions of `p` coordinates along which the information and that of the complete data are independent.

    The covariance of the coordinates is `root @ root.T` on `m` directions that the data determine, and that from the
    complete data `complete_root @ complete_root.T` on the same.
    """

    root: Float[np.ndarray, "p m"]
    complete_root: Float[np.ndarray, "p m"]
    flat: Float[np.ndarray, "p l"]  # directions that the data do not determine, a standard error of complete data long
    void: Float[np.ndarray, "p v"]  # directions of length 1 that not even complete data would determine
    least: float  # the smallest share of the complete information that is left, and negative at a saddle
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
    diagonal = np.diagonal(complete)
    known = diagonal > eps * np.max(diagonal, initial=0) * 1e-12
    units = np.where(known, 1 / np.sqrt(np.where(known, diagonal, 1)), 0)
    values, vectors = np.linalg.eigh(complete * np.outer(units, units))
    there = values > 8 * eps * max(p, 1)
    void = vectors[:, ~there] * np.where(known, units, 1)[:, None]
    void = void / np.maximum(np.linalg.norm(void, axis=0), np.finfo(float).tiny)
    whiten = units[:, None] * vectors[:, there] / np.sqrt(values[there])
    shares, turned = np.linalg.eigh(whiten.T @ observed @ whiten)
    directions = whiten @ turned
    slope = directions.T @ gradient
    rounding = max(eps ** (2 / 3), 8 * p * eps / np.min(values[there], initial=1))
    floor = max(rounding, np.linalg.norm(slope) / np.sqrt(max(total, 1)))
    kept, below = shares > floor, shares < -floor
    scaled = directions[:, kept] / np.sqrt(shares[kept])
    return Spectrum(
        scaled,
        directions[:, kept],
        directions[:, ~kept & ~below],
        void,
        float(np.min(shares, initial=1.0)) if below.any() else float(np.min(shares[kept], initial=1.0)),
        float(np.sqrt(np.sum(slope[kept] ** 2 / shares[kept]))),
    )


def moves(jacobian: np.ndarray, found: Spectrum, eps: float) -> np.ndarray:
    """Which of the numbers with this `jacobian`, `[m, p]`, a direction moves that the data do not determine, `[m]`."""
    slack = eps**0.25
    whole = np.concatenate([found.complete_root, found.flat], 1)
    along = np.linalg.norm(jacobian @ found.flat, axis=1) > slack * np.linalg.norm(jacobian @ whole, axis=1)
    return along | (np.linalg.norm(jacobian @ found.void, axis=1) > slack * np.linalg.norm(jacobian, axis=1))
