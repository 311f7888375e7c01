"""Parameters of normal distributions, their natural ones, and what statistics are taken about."""

from typing import NamedTuple

from jaxtyping import Array, Float


class GaussianParams(NamedTuple):
    """Means `[k, d]` and covariances: full and VEV `[k, d, d]`, tied `[d, d]`, diagonal `[k, d]`, spherical `[k]`."""

    mean: Float[Array, "k d"]
    covariance: Array


class GaussianNatural(NamedTuple):
    """Coefficients of the log density: of the two constants, of `x`, and of `x x^T`."""

    log_det: Float[Array, " k"]
    offset: Float[Array, " k"]
    linear: Float[Array, "k d"]
    quadratic: Array


class Anchor(NamedTuple):
    """Each member's statistics are taken in coordinates that it whitens: `factor^-1 (x - location)`."""

    location: Float[Array, "k d"]
    factor: Array
    inverse: Array  # of the factor, where that is a matrix: once for all chunks


class UpperBlocks(NamedTuple):
    """Natural parameters with the quadratic coefficients in `upper_blocks`, `[k or 1, b, width]` each."""

    constant: Float[Array, " k"]
    linear: Float[Array, "k d"]
    upper: list[Array]
