"""Models: short, because latents, families and rules do the work."""

from jaxem.models.function import FunctionModel as FunctionModel
from jaxem.models.labelled import Labelled as Labelled
from jaxem.models.mixture import GaussianMixture as GaussianMixture
from jaxem.models.mixture import Mixture as Mixture
from jaxem.models.mixture import MixtureParams as MixtureParams
from jaxem.models.single import Single as Single
from jaxem.models.variational import Variational as Variational
