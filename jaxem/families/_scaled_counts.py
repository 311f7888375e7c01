"""What negative binomial families share: Poisson counts whose mean is multiplied by a hidden scale."""

from typing import ClassVar

from jaxem.families._scaled import AbstractScaled
from jaxem.latent import GammaScale


class AbstractScaledCounts(AbstractScaled):
    """Counts with a mean, and a hidden multiple of it for each: negative binomial ones, of variance
    `mean + mean^2 / theta`."""

    spread: ClassVar[str] = "theta"
    bounds: ClassVar[tuple[float, float]] = (1e-3, 1e6)
    first: ClassVar[float] = 2.0

    @property
    def latent(self) -> GammaScale:
        return GammaScale()
