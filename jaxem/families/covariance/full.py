from typing import final

from jaxem.families.covariance._matrices import AbstractMatrices


@final
class Full(AbstractMatrices):
    """A covariance matrix for each member, `[k, d, d]`."""
