"""Covariance structures of the Gaussian family."""

from typing import Any

from jaxem.families.covariance._structure import AbstractCovariance as AbstractCovariance
from jaxem.families.covariance.matrices import EqualShape, Full, Tied
from jaxem.families.covariance.variances import AbstractVariances as AbstractVariances
from jaxem.families.covariance.variances import Diagonal, Spherical

STRUCTURES: dict[str, Any] = {
    "full": Full,
    "diagonal": Diagonal,
    "spherical": Spherical,
    "tied": Tied,
    "VEV": EqualShape,
}
# scikit-learn's word, and mclust's letters for volume, shape and orientation: equal, variable, or the identity.
ALIASES = {"diag": "diagonal", "VVV": "full", "EEE": "tied", "VVI": "diagonal", "VII": "spherical"}


def structure_name(name: Any) -> Any:
    """The name in `STRUCTURES` of a structure that may go by another one; any other value as it is."""
    return ALIASES.get(name, name) if isinstance(name, str) else name


def structure_names() -> str:
    """The names of all structures, and their others."""
    others = ", ".join(f"{alias} for {name}" for alias, name in ALIASES.items())
    return f"{', '.join(STRUCTURES)} ({others})"
