from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxem._bound import AbstractBound
from jaxem._paths import covers, parameter_names
from jaxem.m_step._ascent import ascend
from jaxem.m_step._m_step import AbstractMStep, require_linear


@final
class OnLikelihood(eqx.Module):
    """A block of `Conditional` that is maximised on the log-likelihood itself, by safeguarded Newton steps.

    Each step takes the whole Hessian of the block and several passes over the data; none lowers the log-likelihood.

    **Arguments:**

    - `names`: parameter names.
    - `steps`: Newton steps an iteration.

    **Example**

    >>> import jaxem
    >>> jaxem.m_step.OnLikelihood("components.rate", steps=2).steps
    2
    """

    names: tuple[str, ...] = eqx.field(static=True)
    steps: int = eqx.field(static=True, default=3)

    def __init__(self, *names: str, steps: int = 3):
        self.names, self.steps = names, steps


@final
class Conditional(AbstractMStep):
    """Parameters in blocks, each maximised with all the others fixed: ECM, ECME and multicycle ECM.

    Blocks on Q take the closed form of `maximize` under `freeze` (Meng and Rubin 1993); blocks marked `OnLikelihood`
    are maximised on the log-likelihood, which converges faster where those parameters carry the missing information
    (ECME, Liu and Rubin 1994). Never lowers the objective, and stops where EM stops. For models whose joint maximum has
    no closed form while the conditional ones do, and for blocks worth more than Q gives them.

    With `cycle`, an iteration updates one block and the next one another, so that an E-step precedes each (multicycle
    ECM; the pattern of AECM, Meng and van Dyk 1997), and what a whole turn gains decides when to stop.

    **Arguments:**

    - `blocks`: names of parameters, as in `Mixture(frozen=...)`: a name, a tuple of names, or an `OnLikelihood`. Every
        parameter that is not frozen is in exactly one block. Within an iteration blocks on Q come before those on the
        log-likelihood, without which ECME may fall (Meng and van Dyk 1997).
    - `cycle`: one block an iteration.

    **Example**

    >>> import jaxem
    >>> from jaxem.m_step import Conditional, OnLikelihood
    >>> ecm = jaxem.Algorithm(m_step=Conditional("weights", "components.mean", "components.covariance"))
    >>> ecme = jaxem.Algorithm(m_step=Conditional("components", OnLikelihood("weights")))
    >>> ecme.monotone
    True
    """

    rung: ClassVar[int] = 2
    closed: ClassVar[bool] = True

    blocks: tuple[Any, ...] = eqx.field(static=True)
    cycle: bool = eqx.field(static=True, default=False)

    def __init__(self, *blocks: str | tuple[str, ...] | OnLikelihood, cycle: bool = False):
        self.blocks = tuple((block,) if isinstance(block, str) else block for block in blocks)
        self.cycle = cycle

    def __check_init__(self):
        if not self.blocks:
            raise ValueError("Conditional needs at least one block of parameter names")
        late = [isinstance(block, OnLikelihood) for block in self.blocks]
        if not self.cycle and late != sorted(late):
            raise ValueError(
                "Conditional: blocks on Q must come before blocks on the log-likelihood, or the objective may fall; "
                "reorder them, or pass cycle=True for an E-step before each"
            )

    def init(self, model, params):
        if not all(isinstance(block, OnLikelihood) for block in self.blocks):
            require_linear(model, "; mark the blocks of Conditional as OnLikelihood, or use a gradient M-step")
        _given_others(model, params, self.blocks)
        return jnp.zeros((), jnp.int32)

    def comparable(self, state):
        # One block may gain nothing while others still would: a whole turn is compared.
        return state == 0 if self.cycle else True

    def __call__(self, surrogate, params, state, key):
        models = _given_others(surrogate.model, params, self.blocks)

        def mover(block, model):
            if not isinstance(block, OnLikelihood):
                return lambda params: model.maximize(surrogate.stats, params)
            return lambda params: jax.lax.fori_loop(
                0, block.steps, lambda _, p: ascend(surrogate.log_likelihood, model, p, halvings=10), params
            )

        movers = [mover(block, model) for block, model in zip(self.blocks, models, strict=True)]
        if self.cycle:
            return jax.lax.switch(state, movers, params), (state + 1) % len(movers)
        for move in movers:
            params = move(params)
        return params, state


def _given_others(model: AbstractBound, params: Any, blocks: tuple[Any, ...]) -> list[Any]:
    """For each block the model in which all other parameters are frozen."""
    names = parameter_names(params)
    free = [name for name, on in zip(names, jax.tree.leaves(model.trainable(params)), strict=True) if on]
    held = dict.fromkeys(names, 0)
    models = []
    for block in blocks:
        mine = set()
        for prefix in getattr(block, "names", block):
            found = {name for name in names if covers(prefix, name)}
            if not found:
                raise ValueError(f"Conditional: unknown parameter {prefix!r}; choose from {', '.join(names)}")
            mine |= found
        for name in mine:
            held[name] += 1
        models.append(model.freeze(tuple(name for name in names if name not in mine)))
    for name, count in held.items():
        if count > 1 or (count == 0 and name in free):
            raise ValueError(f"Conditional: parameter {name!r} is in {count} blocks; put it in exactly one")
    return models
