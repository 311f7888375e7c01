"""The four axes, and the names that the literature gives to their combinations."""

from typing import Any, final

import equinox as eqx

from jaxem.e_step import AbstractEStep, Expectation, Mode
from jaxem.m_step import AbstractMStep, Maximize, Newton
from jaxem.termination import AbstractTermination, FixedSteps, Gain
from jaxem.update import AbstractUpdate, Full, Stepwise


@final
class Algorithm(eqx.Module):
    """A variant of EM: an E rule, an update rule and an M rule.

    **Arguments:**

    - `e_step`: what is taken from the posterior of the latents; see `jaxem.e_step`.
    - `update`: which rows an iteration looks at, and how statistics accumulate; see `jaxem.update`.
    - `m_step`: how new parameters follow; see `jaxem.m_step`.

    **Example**

    Hard EM with a Newton step, a combination without a name:

    >>> import jaxem
    >>> algorithm = jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=jaxem.m_step.Newton())
    """

    e_step: AbstractEStep = Expectation()
    update: AbstractUpdate = Full()
    m_step: AbstractMStep = Maximize()

    @property
    def monotone(self) -> bool:
        """Whether the objective never falls."""
        return self.e_step.monotone and self.update.exact and self.m_step.ascends

    def termination(self) -> AbstractTermination:
        """How a run of this algorithm stops unless told otherwise."""
        return Gain() if self.update.exact else FixedSteps()


def em() -> Algorithm:
    """Expectation-maximization: `params <- argmax Q(. | params)`.

    Never lowers the log-likelihood. With a prior in the model it ascends the log posterior (MAP-EM).
    Dempster, Laird and Rubin (1977).

    **Example**

    >>> import jaxem
    >>> jaxem.em().monotone
    True
    """
    return Algorithm()


def hard_em() -> Algorithm:
    """Classification EM: each observation goes to its most probable latent.

    Never lowers the classification log-likelihood, and stops after finitely many steps; its estimates are biased
    where components overlap. Celeux and Govaert (1992).

    **Example**

    >>> import jaxem
    >>> jaxem.hard_em().e_step
    Mode()
    """
    return Algorithm(e_step=Mode())


def stepwise_em(rows: int = 256, power: Any = 0.7, delay: Any = 2.0) -> Algorithm:
    """Online EM: statistics of one block of rows at a time enter a decaying average.

    For data with many rows per parameter: it comes close to the optimum in a few passes. Not monotone; runs for
    `max_steps` blocks. Cappe and Moulines (2009).

    **Example**

    >>> import jaxem
    >>> jaxem.stepwise_em(rows=1000).monotone
    False
    """
    return Algorithm(update=Stepwise(rows, power, delay))


def em_gradient() -> Algorithm:
    """The EM gradient algorithm: one safeguarded Newton step on Q takes the place of its maximisation.

    Never lowers the log-likelihood, and converges at the rate of EM. For models without a closed-form M-step.
    Lange (1995).

    **Example**

    >>> import jaxem
    >>> jaxem.em_gradient().monotone
    True
    """
    return Algorithm(m_step=Newton())
