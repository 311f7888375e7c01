from typing import final

from jaxem import _bijections as bijections
from jaxem.families.covariance._matrices import AbstractMatrices


@final
class Full(AbstractMatrices):
    """A covariance matrix for each member, `[k, d, d]`."""

    def unconstrain(self, covariance):
        return bijections.definite_to_free(covariance)

    def constrain(self, free):
        return bijections.free_to_definite(free)
