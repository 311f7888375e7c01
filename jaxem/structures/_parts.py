"""What a Markov chain asks of the distribution of its first state, and of its transitions."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxem._errors import MissingCapabilityError
from jaxem.families.priors import Dirichlet
from jaxem.kernels import exclusion


class AbstractTransitions(eqx.Module):
    """Probabilities of the next state given the last: a part that knows nothing of what the states emit.

    Parameters are one array, `params.transition` of the model. Covariates, where a part is `driven` by them, are those
    of the transition into each step but the first, `[n, s, q]`; others get `None`.
    """

    linear: ClassVar[bool] = True  # log probabilities are linear in `natural(transition)`
    driven: ClassVar[bool] = False  # they depend on covariates
    domain: ClassVar[str] = "real"  # where parameters lie, as `model.domains` has it

    @abstractmethod
    def natural(self, transition: Array) -> Array:
        """What `log_probabilities` takes."""

    @abstractmethod
    def log_probabilities(self, natural: Array, covariates: Array | None) -> Float[Array, "k k *ns"]:
        """Log probabilities (from, to): `[k, k]`, or `[k, k, n, s]` of steps that differ."""

    @abstractmethod
    def of_probabilities(
        self, p: Float[Array, "k k"], covariates: Array | None, weights: Float[Array, "n s"] | None
    ) -> Array:
        """Parameters with these probabilities, as far as they can have them: a start."""

    def maximize(self, counts: Float[Array, "k k"], transition: Array) -> Array:
        """The parameters that maximise `objective(counts, ...)`; what the counts do not determine stays."""
        raise MissingCapabilityError(f"{type(self).__name__} has no closed-form M-step; use jaxem.em_gradient()")

    def objective(self, counts: Float[Array, "k k"], transition: Array) -> Array:
        """Expected log probability of so many transitions, plus the log prior but for a constant."""
        raise MissingCapabilityError(f"{type(self).__name__} depends on more than the number of transitions")

    def conform(self, transition: Array) -> Array:
        """Parameters with what is fixed in place."""
        return transition

    def log_prior(self, transition: Array) -> Any:
        """Log prior density; 0 without a prior."""
        return 0

    def conjugate(self) -> Dirichlet | None:
        """The conjugate prior, where there is one."""
        return None

    def unconstrain(self, transition: Array) -> Array:
        """Unconstrained coordinates, of any shape."""
        return transition

    def constrain(self, free: Array) -> Array:
        """The inverse of `unconstrain`."""
        return free

    def permuted(self, transition: Array, order: Int[Array, " k"]) -> Array | None:
        """Parameters with state `order[j]` in the place of state `j`; `None` if states have places of their own."""
        return None

    def blocks(self, free: Array) -> Float[Array, "b m"]:
        """Coordinates by blocks that do not interact in Q, in their order."""
        return free.reshape(free.shape[0], -1)

    def entered(self, transition: Array) -> Bool[Array, " k"]:
        """Whether some other state leads to each."""
        return jnp.ones(transition.shape[0], bool)

    def degenerate(self, transition: Array) -> Array:
        """Whether the likelihood is spurious there."""
        return jnp.zeros((), bool)

    def bind(self, covariates: Array, weights: Float[Array, "n s"], reduce: Any) -> "AbstractTransitions":
        """This part in coordinates suited to the covariates; asked of those that are `driven`."""
        return self

    def encode(self, transition: Array) -> Array:
        """Parameters in the coordinates of the bound part."""
        return transition

    def decode(self, transition: Array) -> Array:
        """Parameters in the user's coordinates."""
        return transition

    def check_states(self, k: int) -> None:
        """Raise `ValueError` if this part is for another number of states."""

    def check_width(self, transition: Array, covariates: Array) -> None:
        """Raise `DataError` for covariates that these parameters are not for."""

    def check_covariates(self, moving: np.ndarray) -> None:
        """Raise `DataError` for covariates `[m, q]` of all transitions that it cannot be fitted to; on the host."""

    def advance(
        self, transition: Array, states: Float[Array, "n k"], covariates: Float[Array, "n q"] | None
    ) -> Float[Array, "n k"]:
        """Probabilities of the states one step later."""
        log = self._one_step(transition, covariates)
        return jnp.sum(states.T[:, None] * jnp.exp(log), 0).T

    def onward(
        self, transition: Array, state: Int[Array, " n"], covariates: Float[Array, "n q"] | None
    ) -> Float[Array, "n k"]:
        """Log probabilities of the next state after these."""
        log = self._one_step(transition, covariates)
        return jnp.take_along_axis(log, state[None, None], 0)[0].T

    def _one_step(self, transition: Array, covariates: Array | None) -> Float[Array, "k k n"]:
        x = None if covariates is None else covariates[:, None]
        log = self.log_probabilities(self.natural(transition), x)
        return log[..., None] if log.ndim == 2 else log[..., 0]


class AbstractInitial(eqx.Module):
    """The distribution of the first state: a part that knows nothing of what the states emit.

    It is `params.initial` of the model, `[k]`.
    """

    follows: ClassVar[bool] = False  # from the transitions, without parameters of its own

    @abstractmethod
    def conform(self, initial: Float[Array, " k"], transition: Array) -> Float[Array, " k"]:
        """The distribution with what is fixed in place."""

    @abstractmethod
    def maximize(
        self, counts: Float[Array, " k"], initial: Float[Array, " k"], transition: Array
    ) -> Float[Array, " k"]:
        """The distribution that maximises Q given the new transitions; where nothing is counted, `initial`."""

    @abstractmethod
    def unconstrain(self, initial: Float[Array, " k"]) -> Float[Array, " m"]:
        """Unconstrained coordinates."""

    @abstractmethod
    def constrain(self, free: Float[Array, " m"], transition: Array) -> Float[Array, " k"]:
        """The inverse of `unconstrain`."""

    def natural(self, initial: Float[Array, " k"], transition: Array) -> Float[Array, " k"]:
        """Log probabilities."""
        return exclusion.log(self.conform(initial, transition) if self.follows else initial)

    def adjust(
        self,
        first: Float[Array, " k"],
        moves: Float[Array, "k k"],
        estimate: Array,
        transition: Array,
        transitions: AbstractTransitions,
    ) -> Array:
        """The transitions that maximise Q, where `estimate` does without the first state."""
        return estimate

    def log_prior(self, initial: Float[Array, " k"]) -> Any:
        """Log prior density; 0 without a prior."""
        return 0

    def conjugate(self) -> Dirichlet | None:
        """The conjugate prior, where there is one."""
        return None

    def check_states(self, k: int) -> None:
        """Raise `ValueError` if this part is for another number of states."""

    def check_transitions(self, transitions: AbstractTransitions) -> None:
        """Raise `ValueError` for transitions that it cannot go with."""


def require_part(part: Any, kind: type, name: str, example: str) -> None:
    """Raise `ValueError` for what is no such part of a chain, with what to pass instead."""
    if isinstance(part, type) and issubclass(part, kind):
        raise ValueError(f"{name} is the class {part.__name__}; pass an instance: {part.__name__}()")
    if not isinstance(part, kind):
        raise ValueError(f"{name} must be {example}, got {part!r}")


def require_alone(name: str, others: list[str], kind: str) -> None:
    """Raise `ValueError` where arguments say what an object given as `name` says itself."""
    if others:
        own = others[0].rpartition("_")[2]
        raise ValueError(
            f"{name} is an object, which has its own prior and pattern, so that {others[0]} is in conflict with it: "
            f"give the object {own}=..., as in {kind}({own}=...)"
        )


@jax.tree_util.register_static
class Word(str):
    """A word as a value of a field that may also hold a part with arrays: to JAX it has no leaves."""
