from typing import Any, ClassVar, final

from jaxem._errors import MissingCapabilityError
from jaxem.engine.variational import Variational
from jaxem.m_step._m_step import AbstractMStep


@final
class Posterior(AbstractMStep):
    """The conjugate posterior of the parameters takes the place of an estimate: variational Bayes.

    A run is one of EM on `jaxem.models.Variational(model)`, and its parameters are posteriors. Attias (1999); Beal and
    Ghahramani (2003).

    Needs rung 3: a model with conjugate priors.

    **Example**

    >>> import jaxem
    >>> algorithm = jaxem.Algorithm(m_step=jaxem.m_step.Posterior())
    """

    rung: ClassVar[int] = 3
    closed: ClassVar[bool] = True

    def lift(self, model: Any) -> Variational:
        return model if isinstance(model, Variational) else Variational(model)

    def init(self, model, params):
        if model.plain is None:
            raise MissingCapabilityError(
                f"the parameters of {model.name} are not posteriors: run on jaxem.models.Variational(model)"
            )
        return ()

    def __call__(self, surrogate, params, state, key):
        model: Any = surrogate.model
        return model.maximize(surrogate.stats, params), state
