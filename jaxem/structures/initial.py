"""Distributions of the first state of a chain: free, or the stationary one."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion
from jaxem.kernels.newton import newton_step
from jaxem.structures._parts import AbstractInitial
from jaxem.structures._pattern import Rows, as_fixed, stationary
from jaxem.structures.free_transitions import require_dirichlet, require_size, with_prior


@final
class FreeInitial(AbstractInitial):
    """Any distribution of the first state.

    **Arguments:**

    - `prior`: a `jaxem.priors.Dirichlet` prior.
    - `pattern`: `[k]`, entries that are fixed, NaN for the others.

    **Example**

    >>> import jaxem
    >>> first = jaxem.structures.FreeInitial(pattern=[1.0, 0.0])
    >>> jaxem.HMM(jaxem.Poisson(), num_states=2, initial=first).num_states
    2
    """

    prior: Dirichlet | None = None
    pattern: Any = eqx.field(static=True, default=None)

    def __post_init__(self):
        if self.pattern is not None:
            flat = np.atleast_2d(np.asarray(self.pattern, object))
            self.pattern = as_fixed(flat, "pattern", 1, flat.shape[1])

    def __check_init__(self):
        require_dirichlet(self.prior)

    def check_states(self, k):
        require_size(self.pattern, k, "initial")

    def _rows(self, k: int) -> Rows:
        return Rows(self.pattern, (1, k))

    def conform(self, initial, transition):
        return self._rows(initial.shape[0]).fit(initial[None])[0]

    def maximize(self, counts, initial, transition):
        counts = with_prior(counts, self.prior)
        return self._rows(counts.shape[0]).estimate(counts[None], initial[None])[0]

    def log_prior(self, initial):
        return super().log_prior(initial) if self.prior is None else self.prior.log_prob(initial)

    def conjugate(self):
        return self.prior if self.pattern is None else None

    def unconstrain(self, initial):
        return self._rows(initial.shape[0]).to_free(initial[None]).reshape(-1)

    def constrain(self, free, transition):
        k = transition.shape[0]
        return self._rows(k).from_free(free.reshape(1, -1) if self.pattern is None else free)[0]


_STEPS, _HALVINGS = 20, 10


@final
class StationaryInitial(AbstractInitial):
    """The stationary distribution of the transitions, from which it follows: it has no parameters of its own.

    The M-step of the transitions is then Newton's method, run to its end and safeguarded, from the better of the
    current ones and their estimate without the first state.

    **Example**

    >>> import jaxem
    >>> jaxem.HMM(jaxem.Poisson(), num_states=2, initial=jaxem.structures.StationaryInitial()).num_states
    2
    """

    follows: ClassVar[bool] = True

    def check_transitions(self, transitions):
        if transitions.driven:
            raise ValueError(
                "transitions that depend on covariates have no stationary distribution; take initial='free', or "
                "transitions=FreeTransitions()"
            )

    def conform(self, initial, transition):
        return stationary(transition)

    def maximize(self, counts, initial, transition):
        return stationary(transition)

    def unconstrain(self, initial):
        return jnp.zeros(0, initial.dtype)

    def constrain(self, free, transition):
        return stationary(transition)

    def adjust(self, first, moves, estimate, transition, transitions):
        def q(transition):
            return jnp.sum(first * exclusion.log(stationary(transition))) + transitions.objective(moves, transition)

        begin = jnp.where(q(estimate) >= q(transition), estimate, transition)
        free = transitions.unconstrain(begin)
        shape = free.shape
        if free.size == 0:
            return begin
        rounding = 4 * jnp.finfo(moves.dtype).eps

        def objective(blocks):
            return q(transitions.constrain(blocks[0].reshape(shape)))

        def step(carry):
            count, free, value, _ = carry
            (moved,), rose = newton_step(objective, [free], [jnp.ones_like(free)], _HALVINGS)
            new = objective([moved])
            return count + 1, moved, new, rose & (new - value > rounding * jnp.abs(value))

        def going(carry):
            return carry[3] & (carry[0] < _STEPS)

        flat = free.reshape(1, -1)
        start = (jnp.zeros((), jnp.int32), flat, objective([flat]), jnp.ones((), bool))
        _, flat, value, _ = jax.lax.while_loop(going, step, start)
        found = transitions.constrain(flat.reshape(shape))
        return jnp.where(value >= q(begin), found, begin)
