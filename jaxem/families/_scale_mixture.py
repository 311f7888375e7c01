"""What distributions with Student t tails share: a normal family, each of whose rows has a hidden precision."""

from abc import abstractmethod
from typing import Any, ClassVar

from jaxtyping import Array

from jaxem.families._scaled import AbstractScaled
from jaxem.families.kernels.scale_mixture import ScaleMixtureKernel
from jaxem.latent import GammaScale


class AbstractScaleMixture(AbstractScaled):
    """Normal rows whose precision is multiplied by a hidden `u`, gamma of mean 1 with `degrees_of_freedom`.

    Parameters are those of the normal family `base` and `degrees_of_freedom`, `[k]` or, if `pooled`, a number.
    """

    spread: ClassVar[str] = "degrees_of_freedom"
    per_shape: ClassVar[float] = 2.0
    bounds: ClassVar[tuple[float, float]] = (1e-2, 1e6)
    first: ClassVar[float] = 4.0

    @abstractmethod
    def num_columns(self, params: Any) -> int:
        """How many columns the precision of a row belongs to."""

    @property
    def latent(self) -> GammaScale:
        return GammaScale(common=True)

    def like(self, own: Any) -> Array:
        return self.base.natural(own).log_det

    @abstractmethod
    def kernel(self) -> ScaleMixtureKernel:
        """The kernel in the coordinates of the data."""

    def maximize_expanded(self, stats, params, frozen=()):
        return self.kernel().maximize_expanded(stats, params, frozen)
