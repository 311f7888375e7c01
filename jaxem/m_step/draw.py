from typing import ClassVar, final

import jax

from jaxem._conjugate import require_conjugate
from jaxem.m_step._m_step import AbstractMStep

# No chunk of rows has this number, so that the draw shares no randomness with those of the latents.
_STREAM = 2**32 - 1


@final
class Draw(AbstractMStep):
    """New parameters are drawn from their conjugate posterior given the statistics.

    With an E rule that draws the latents this is data augmentation, a Gibbs sampler of parameters and latents (Tanner
    and Wong 1987).

    Needs rung 3: a model with conjugate priors. Nothing is ascended.

    **Example**

    >>> import jaxem
    >>> jaxem.Algorithm(m_step=jaxem.m_step.Draw()).monotone
    False
    """

    ascends: ClassVar[bool] = False
    rung: ClassVar[int] = 3

    def init(self, model, params):
        require_conjugate(model, "Gibbs sampling")
        return ()

    def __call__(self, surrogate, params, state, key):
        posteriors = require_conjugate(surrogate.model, "Gibbs sampling").about(params)
        return posteriors.draw(jax.random.fold_in(key, _STREAM), posteriors.posterior(surrogate.stats)), state
