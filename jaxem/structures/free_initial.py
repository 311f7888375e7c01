"""Free probabilities of the first state."""

from typing import Any, final

import equinox as eqx
import numpy as np

from jaxem.families.priors import Dirichlet
from jaxem.structures._parts import AbstractInitial
from jaxem.structures._pattern import Rows, as_fixed
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
