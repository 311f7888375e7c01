"""What an information matrix determines, what it does not, and how far the maximum is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxem.information._whitening import inverse_root, whitening


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
    whiten = whitening(complete, eps)
    rest, slope = whiten.transposed(whiten.transposed(observed).T), whiten.transposed(gradient)
    rounding = max(eps ** (2 / 3), 8 * np.sqrt(p) * eps / whiten.least)
    floor = max(rounding, np.linalg.norm(slope) / np.sqrt(max(total, 1)))
    inner, whole = inverse_root(rest, floor), whiten.whole()
    if inner is not None:  # all of it is determined
        root = whiten @ inner[0]
        return Spectrum(root, whole, whole[:, :0], whiten.void, 0.0, float(np.linalg.norm(root.T @ gradient)))
    shares, turned = np.linalg.eigh(rest)
    directions, slope = whiten @ turned, turned.T @ slope
    kept, below = shares > floor, shares < -floor
    return Spectrum(
        directions[:, kept] / np.sqrt(shares[kept]),
        directions[:, kept],
        directions[:, ~kept & ~below],
        whiten.void,
        float(-np.min(shares)) if below.any() else 0.0,
        float(np.sqrt(np.sum(slope[kept] ** 2 / shares[kept]))),
    )


def complete_root(complete: np.ndarray, eps: float) -> Float[np.ndarray, "p m"]:
    """Directions of which the square is the covariance from complete data, on what these determine."""
    return whitening(complete, eps).whole()


def moves(jacobian: np.ndarray, found: Spectrum, eps: float) -> np.ndarray:
    """Which of the numbers with this `jacobian`, `[m, p]`, a direction moves that the data do not determine, `[m]`."""
    if not found.num_flat:
        return np.zeros(len(jacobian), bool)
    slack = eps**0.25
    whole = np.concatenate([found.complete_root, found.flat], 1)
    along = np.linalg.norm(jacobian @ found.flat, axis=1) > slack * np.linalg.norm(jacobian @ whole, axis=1)
    return along | (np.linalg.norm(jacobian @ found.void, axis=1) > slack * np.linalg.norm(jacobian, axis=1))
