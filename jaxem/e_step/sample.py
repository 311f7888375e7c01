from typing import ClassVar, final

import equinox as eqx

from jaxem.e_step._e_step import AbstractEStep


@final
class Sample(AbstractEStep):
    """Draws from the posterior of the latents: stochastic EM, and Monte Carlo EM of a fixed sample size.

    The iterates are a Markov chain around the estimate: report its average (`jaxem.record.Average`). The objective in
    the history is the exact log-likelihood. Celeux and Diebolt (1985); Wei and Tanner (1990).

    **Arguments:**

    - `draws`: how many for each observation; their statistics are averaged.

    **Example**

    >>> import jaxem
    >>> jaxem.stochastic_em().e_step.draws
    1
    """

    draws: int = eqx.field(static=True, default=1)

    monotone: ClassVar[bool] = False
    needs: ClassVar[str] = "sample"

    def __check_init__(self):
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")

    def posterior(self, model, potentials, extras, data, key):
        moments = model.latent.average(key, potentials, self.draws, self.draws)
        return moments, model.latent.log_normalizer(potentials)
