from typing import ClassVar, final

from jaxem.m_step._m_step import AbstractMStep, require_linear


@final
class Maximize(AbstractMStep):
    """The closed-form maximum of Q, or its mode under the model's prior.

    Needs rung 2: a model with `natural` and `maximize`.

    **Example**

    >>> import jaxem
    >>> jaxem.em().m_step
    Maximize()
    """

    rung: ClassVar[int] = 2
    closed: ClassVar[bool] = True

    def init(self, model, params):
        require_linear(model, "; use an algorithm with a gradient M-step, such as jaxem.em_gradient()")
        return ()

    def __call__(self, surrogate, params, state, key):
        return surrogate.model.maximize(surrogate.stats, params), state  # pyright: ignore[reportAttributeAccessIssue]
