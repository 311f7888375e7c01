from typing import ClassVar, final

from jaxem.e_step._e_step import AbstractEStep


@final
class Expectation(AbstractEStep):
    """The exact posterior: moments are the gradient of the log-normalizer, the objective is the log-likelihood.

    Dempster, Laird and Rubin (1977).

    **Example**

    >>> import jaxem
    >>> jaxem.Algorithm(e_step=jaxem.e_step.Expectation()).e_step.monotone
    True
    """

    integrates: ClassVar[bool] = True

    def posterior(self, model, potentials, extras, data, key):
        return model.latent.expectation(potentials)
