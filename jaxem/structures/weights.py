"""Weights: each row chooses its member independently, with the same probabilities."""

from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem import _bijections as bijections
from jaxem._conjugate import PriorsConjugate
from jaxem.families.priors import Dirichlet, StickBreaking
from jaxem.kernels import exclusion
from jaxem.kernels.rows import without_weight
from jaxem.structures._structure import AbstractStructure, first_leaf, over
from jaxem.structures.labelled import Labelled, unlabelled


class MixtureParams(NamedTuple):
    """Mixing `weights` `[k]`, and the parameters of the `components` with a leading axis `k`."""

    weights: Float[Array, " k"]
    components: Any


class MixtureNatural(NamedTuple):
    """Log weights `[k]`, and the components' natural parameters."""

    log_weights: Float[Array, " k"]
    components: Any


@final
class Weights(AbstractStructure):
    """`size` members with weights, which may have a `prior`.

    A member whose expected count falls to rounding error has weight 0.
    """

    size: int = eqx.field(static=True)
    prior: Dirichlet | StickBreaking | None = None

    params_type: ClassVar[Any] = MixtureParams
    natural_type: ClassVar[Any] = MixtureNatural
    names: ClassVar[tuple[str, ...]] = ("weights",)
    prior_hint: ClassVar[str] = "there is no prior on its weights: weights_prior=Dirichlet(...) or StickBreaking(...)"

    count: ClassVar[None] = None  # all members are there; see `UpTo`

    @property
    def num_members(self) -> int:
        return self.size

    def even(self, dtype):
        """Equal weights."""
        return (jnp.full(self.size, 1 / self.size, dtype),)

    def natural(self, own):
        return (exclusion.log(own[0]),)

    def constant(self, natural):
        return natural[0]

    def joint(self, natural, members, hidden, data):
        if natural is None:
            return allowed(members, data)
        leaf = first_leaf(members)
        log_weights = jnp.broadcast_to(natural[0][:, None], (self.num_members, leaf.shape[1]))
        if hidden is None:
            return allowed(log_weights + members, data)
        return over(allowed(log_weights, data), members, hidden)

    def counts(self, stats):
        return stats[0]

    def maximize(self, stats, own, frozen):
        (weights,) = own
        if "weights" in frozen:
            return own
        counts = jnp.where(without_weight(stats[0]), 0, stats[0])
        if self.prior is not None:
            return (self.prior.estimate(counts, weights),)
        total = jnp.sum(counts)
        return (jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), weights),)

    def log_prior(self, own):
        return 0 if self.prior is None else self.prior.log_prob(own[0])

    def conjugate(self):
        return None if self.prior is None else PriorsConjugate((self.prior,))

    def unconstrain(self, own):
        return (bijections.simplex_to_free(own[0]),)

    def constrain(self, free):
        return (bijections.free_to_simplex(free[0]),)

    def start(self, key, weights, data):
        return (weights,)

    def permuted(self, own, order):
        return (own[0][order],)

    def degenerate(self, own):
        return jnp.any(own[0] == 0)

    @property
    def domains(self):
        return {"weights": "simplex"}

    def rows(self, data):
        return unlabelled(data)


def allowed(potentials: Float[Array, "k n"], data: PyTree) -> Float[Array, "k n"]:
    """Potentials of the members that the labels allow, if there are any; minus infinity for the others."""
    if not isinstance(data, Labelled):
        return potentials
    return jnp.where(data.allowed(potentials.shape[0]), potentials, jnp.full_like(potentials, -jnp.inf))
