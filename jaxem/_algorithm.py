"""The four axes, composed."""

from typing import Any, final

import equinox as eqx

from jaxem._errors import MissingCapabilityError
from jaxem.accelerate import AbstractAccelerator
from jaxem.e_step import AbstractEStep, Expectation, MonteCarlo
from jaxem.m_step import AbstractMStep, Draw, Maximize, Newton
from jaxem.record import AbstractRecord, Last
from jaxem.termination import AbstractTermination, Aitken, FixedSteps
from jaxem.update import AbstractUpdate, Full


@final
class Algorithm(eqx.Module):
    """A variant of EM: an E rule, an update rule and an M rule, and perhaps an accelerator of the whole map.

    **Arguments:**

    - `e_step`: what is taken from the posterior of the latents; see `jaxem.e_step`.
    - `update`: which rows an iteration looks at, and how statistics accumulate; see `jaxem.update`.
    - `m_step`: how new parameters follow; see `jaxem.m_step`.
    - `accelerator`: extrapolates the map; see `jaxem.accelerate`.
    - `record`: what is reported: the last iterate, an average, or draws; see `jaxem.record`.

    **Example**

    Hard EM with a Newton step, a combination without a name:

    >>> import jaxem
    >>> algorithm = jaxem.Algorithm(e_step=jaxem.e_step.Mode(), m_step=jaxem.m_step.Newton())
    """

    e_step: AbstractEStep = Expectation()
    update: AbstractUpdate = Full()
    m_step: AbstractMStep = Maximize()
    accelerator: AbstractAccelerator | None = None
    record: AbstractRecord = Last()

    def __check_init__(self):
        if self.extrapolates and not (self.update.exact and not self.update.additive):
            which = type(self.e_step if self.accelerator is None else self.accelerator).__name__
            raise ValueError(
                f"{which} extrapolates from evaluations of the whole data, which {type(self.update).__name__} does not "
                "make; use jaxem.update.Full()"
            )
        if self.accelerator is not None and not (self.e_step.monotone and self.m_step.ascends):
            which = self.m_step if self.e_step.monotone else self.e_step
            raise ValueError(
                f"{type(self.accelerator).__name__} needs a map whose objective never falls, and "
                f"{type(which).__name__} does not promise that"
            )

    @property
    def monotone(self) -> bool:
        """Whether the objective never falls."""
        return self.e_step.monotone and self.update.exact and self.m_step.ascends

    @property
    def extrapolates(self) -> bool:
        """Whether steps are tried that may have to be taken back."""
        return self.accelerator is not None or self.e_step.extrapolates

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn, so that runs from one start differ."""
        return self.e_step.needs == "sample" or isinstance(self.m_step, Draw) or not isinstance(self.update, Full)

    @property
    def rung(self) -> int:
        """How far up the ladder a model must have climbed."""
        return max(self.m_step.rung, 2 if self.update.additive else 0)

    def termination(self) -> AbstractTermination:
        """How a run of this algorithm stops unless told otherwise."""
        return Aitken() if self.monotone or self.e_step.stops else FixedSteps()

    def check(self, model: Any) -> None:
        """Raise `MissingCapabilityError` for a model that lacks what the rules need."""
        if self.update.additive and not model.linear:
            raise MissingCapabilityError(
                f"{type(self.update).__name__} adds up statistics, and {model.name} has none "
                "(rung 2: `natural` and linear `potentials`); use the full update"
            )
        if self.e_step.needs in model.latent.lacks:
            instead = "Sample(draws)" if "expectation" in model.latent.lacks else "Expectation()"
            raise MissingCapabilityError(
                f"{type(self.e_step).__name__} needs the {self.e_step.needs} of the posterior of the latents, which "
                f"that of {model.name} does not have; use jaxem.e_step.{instead}"
            )


def default_algorithm(model: Any) -> Algorithm:
    """EM, or one Newton step on Q an iteration where the model has no closed-form M-step.

    Monte Carlo EM where the posterior of the latents is known by draws alone.
    """
    e_step = MonteCarlo(20, 200) if "expectation" in model.latent.lacks else Expectation()
    return Algorithm(e_step=e_step, m_step=Maximize() if model.linear else Newton())
