"""Free probabilities of the next state given the last."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion
from jaxem.kernels.linalg import matmul
from jaxem.structures._parts import AbstractTransitions
from jaxem.structures._pattern import Fixed, Rows, as_fixed


@final
class FreeTransitions(AbstractTransitions):
    """Any transition matrix `[k, k]`, the same in every step: `params.transition`, whose rows sum to 1.

    **Arguments:**

    - `prior`: a `jaxem.priors.Dirichlet` prior of each row.
    - `pattern`: `[k, k]`, entries that are fixed, NaN for the others. A 0 is a transition that cannot be.

    **Example**

    >>> import jaxem
    >>> nan = float("nan")
    >>> no_way_back = jaxem.structures.FreeTransitions(pattern=[[nan, nan], [0, 1]])
    >>> jaxem.HMM(jaxem.Poisson(), num_states=2, transitions=no_way_back).num_states
    2
    """

    prior: Dirichlet | None = None
    pattern: Any = eqx.field(static=True, default=None)

    domain: ClassVar[str] = "simplex"

    def __post_init__(self):
        if self.pattern is not None:
            rows = np.asarray(self.pattern, object)
            if rows.ndim != 2 or rows.shape[0] != rows.shape[1]:
                raise ValueError(f"pattern must have shape [states, states], got {rows.shape}")
            self.pattern = as_fixed(rows, "pattern", len(rows), len(rows))

    def __check_init__(self):
        require_dirichlet(self.prior)

    def check_states(self, k):
        require_size(self.pattern, k, "transition")

    def _rows(self, k: int) -> Rows:
        return Rows(self.pattern, (k, k))

    def natural(self, transition):
        return exclusion.log(transition)

    def log_probabilities(self, natural, covariates):
        return exclusion.or_minus_infinity(natural)

    def of_probabilities(self, p, covariates, weights):
        return p

    def maximize(self, counts, transition):
        return self._rows(counts.shape[0]).estimate(with_prior(counts, self.prior), transition)

    def objective(self, counts, transition):
        counts = with_prior(counts, self.prior)
        counts = jnp.where(self._rows(counts.shape[0]).free(), counts, 0)
        return jnp.sum(counts * exclusion.log(transition))

    def conform(self, transition):
        return self._rows(transition.shape[0]).fit(transition)

    def log_prior(self, transition):
        return super().log_prior(transition) if self.prior is None else self.prior.log_prob(transition)

    def conjugate(self):
        return self.prior if self.pattern is None else None

    def unconstrain(self, transition):
        return self._rows(transition.shape[0]).to_free(transition)

    def constrain(self, free):
        return self._rows(free.shape[0] if self.pattern is None else len(self.pattern)).from_free(free)

    def permuted(self, transition, order):
        return transition[order][:, order]

    def blocks(self, free):
        return free.reshape(1, -1) if self.pattern is not None else free

    def entered(self, transition):
        others = ~jnp.eye(transition.shape[0], dtype=bool)
        return jnp.sum(jnp.where(others, transition, 0), 0) != 0

    def advance(self, transition, states, covariates):
        return matmul(states, transition)

    def onward(self, transition, state, covariates):
        return jnp.log(transition)[state]


def with_prior(counts: Array, prior: Dirichlet | None) -> Array:
    """Counts with the pseudo-counts of a prior."""
    return counts if prior is None else counts + prior.pseudo_counts(counts.shape, counts.dtype)


def require_dirichlet(prior: Any) -> None:
    """Raise `ValueError` for what is no `Dirichlet` prior."""
    if not isinstance(prior, Dirichlet | None):
        raise ValueError(f"prior must be a Dirichlet prior, got {prior!r}")


def require_size(pattern: Fixed | None, k: int, name: str) -> None:
    """Raise `ValueError` for the pattern of another number of states."""
    if pattern is not None and len(pattern[0]) != k:
        raise ValueError(f"the pattern of {name} is for {len(pattern[0])} states, but num_states={k}")
