"""Parameters of a linear Gaussian state-space model, their natural form, and its covariances."""

from typing import NamedTuple

from jaxtyping import Array, Float

from jaxem.families.covariance import STRUCTURES
from jaxem.models._linear_regression import RegressionNatural


class StateSpaceParams(NamedTuple):
    """Parameters of a linear Gaussian state-space model of `q` states and `d` columns.

    Diagonal covariances are vectors of variances. Intercepts are `None` in a model without.
    """

    initial_mean: Float[Array, " q"]
    initial_covariance: Float[Array, "q q"]
    transition: Float[Array, "q q"]
    transition_covariance: Array
    observation: Float[Array, "d q"]
    observation_covariance: Array
    transition_intercept: Float[Array, " q"] | None = None
    observation_intercept: Float[Array, " d"] | None = None


class StateSpaceNatural(NamedTuple):
    """The marker of the steps that exist (always 1), and the three regressions that the log density is made of."""

    present: Array
    initial: RegressionNatural
    transition: RegressionNatural
    observation: RegressionNatural


class Coefficients(NamedTuple):
    """What the regressions multiply their regressors by: 1; the state before (and 1); the state (and 1)."""

    initial: Float[Array, "q 1"]
    transition: Float[Array, "q r"]
    observation: Float[Array, "d s"]


def rescaled(kind: str, covariance: Array, scale: Array) -> Array:
    """The covariance of columns that are multiplied by `scale`."""
    return STRUCTURES[kind]().rescale(covariance[None], scale[None])[0]


def clipped(kind: str, covariance: Array, floor: float, scale: Array | None = None) -> Array:
    """The covariance with no eigenvalue below the floor, in units of `scale`."""
    if scale is None:
        return STRUCTURES[kind]().clip(covariance[None], floor)[0]
    return rescaled(kind, clipped(kind, rescaled(kind, covariance, 1 / scale), floor), scale)
