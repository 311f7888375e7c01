from typing import Any, ClassVar, final

from jaxem.m_step._m_step import AbstractMStep, require_linear


@final
class Expanded(AbstractMStep):
    """The maximum of Q in a larger model that leaves the data as they are, led back to the model's own parameters.

    PX-EM: what the expansion adds adjusts for the difference between imputed hidden variables and what is expected of
    them. Never lowers the log-likelihood, and converges no slower than EM. For models and families with
    `maximize_expanded`, such as `jaxem.StudentT`. Liu, Rubin and Wu (1998).

    **Example**

    >>> import jaxem
    >>> jaxem.Algorithm(m_step=jaxem.m_step.Expanded()).monotone
    True
    """

    rung: ClassVar[int] = 2
    closed: ClassVar[bool] = True

    def init(self, model, params):
        require_linear(model, ", which PX-EM expands; use jaxem.em_gradient()")
        return ()

    def __call__(self, surrogate, params, state, key):
        model: Any = surrogate.model
        return model.maximize_expanded(surrogate.stats, params), state
