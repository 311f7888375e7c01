"""Covariance structures of the Gaussian family."""

from typing import Any

from jaxem.families.covariance._structure import AbstractCovariance as AbstractCovariance
from jaxem.families.covariance._variances import AbstractVariances as AbstractVariances
from jaxem.families.covariance.diagonal import Diagonal
from jaxem.families.covariance.equal_shape import EqualShape
from jaxem.families.covariance.full import Full
from jaxem.families.covariance.spherical import Spherical
from jaxem.families.covariance.tied import Tied

STRUCTURES: dict[str, Any] = {
    "full": Full,
    "diagonal": Diagonal,
    "spherical": Spherical,
    "tied": Tied,
    "VEV": EqualShape,
}
