from typing import ClassVar, final

from jaxem._bound import collect_chosen
from jaxem.e_step._e_step import AbstractEStep
from jaxem.latent import Categorical


@final
class Mode(AbstractEStep):
    """The most probable latent: hard or classification EM.

    The objective is the classification log-likelihood, the largest joint log density over the latents, which never
    falls. k-means is this rule on equal spherical Gaussians. Celeux and Govaert (1992).

    **Example**

    >>> import jaxem
    >>> jaxem.hard_em().e_step
    Mode()
    """

    needs: ClassVar[str] = "mode"

    def posterior(self, model, potentials, extras, data, key):
        return model.latent.mode(potentials)

    def collect(self, model, natural, extras, data, weights, key):
        if isinstance(model.latent, Categorical):
            return collect_chosen(model, natural, data, weights)
        return super().collect(model, natural, extras, data, weights, key)
