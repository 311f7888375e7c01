"""Weights of a number of members that each start has for itself, so that one program serves a range of numbers."""

from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem import _bijections as bijections
from jaxem.structures._structure import AbstractStructure
from jaxem.structures.weights import MixtureNatural, Weights


class UpToParams(NamedTuple):
    """Mixing `weights` `[k]`, 1 for each member that is `alive` and 0 for the others, and the `components`."""

    weights: Float[Array, " k"]
    alive: Float[Array, " k"]
    components: Any


@final
class UpTo(AbstractStructure):
    """Weights of `size` members, of which a run has the first `count`; the others do not count as lost.

    Those have weight 0, which EM keeps: no row is theirs, and they do not move. Only a start looks at `count`, which
    may be traced, so that each of the runs that one program advances side by side may have another; `None` is all.
    """

    size: int = eqx.field(static=True)
    count: Any = None

    params_type: ClassVar[Any] = UpToParams
    natural_type: ClassVar[Any] = MixtureNatural
    names: ClassVar[tuple[str, ...]] = ("weights", "alive")

    @property
    def num_members(self) -> int:
        return self.size

    @property
    def all(self) -> Weights:
        """What it is with all members alive."""
        return Weights(self.size)

    def even(self, dtype):
        """Equal weights of the members that are alive."""
        count = self.size if self.count is None else self.count
        alive = (jnp.arange(self.size, dtype=jnp.int32) < count).astype(dtype)
        return alive / jnp.sum(alive), alive

    def starts_as(self):
        return self

    def start(self, key, weights, data):
        return (weights, self.even(weights.dtype)[1])

    def permuted(self, own, order):
        return own[0][order], own[1][order]

    def natural(self, own):
        return self.all.natural(own[:1])

    def constant(self, natural):
        return self.all.constant(natural)

    def joint(self, natural, members, hidden, data):
        return self.all.joint(natural, members, hidden, data)

    def counts(self, stats):
        return self.all.counts(stats)

    def maximize(self, stats, own, frozen):
        weights, alive = own
        return (*self.all.maximize(stats, (weights,), frozen), alive)

    # Relative to the last member that is alive, as those of `Weights` to the last one, so that extrapolation goes where
    # it would without the others: these, and that one, have coordinates that do not move.

    def unconstrain(self, own):
        weights, alive = own
        return (free_beside_last(weights, last_of(alive)), alive)

    def constrain(self, free):
        return (shares(free[0]), free[1])

    def degenerate(self, own):
        weights, alive = own
        return jnp.any((weights == 0) & (alive > 0))

    @property
    def domains(self):
        return {"weights": "simplex", "alive": "unit"}


def last_of(alive: Float[Array, " k"]) -> Bool[Array, " k"]:
    """Which member is the last that is there."""
    return jnp.arange(len(alive), dtype=jnp.int32) == jnp.sum(alive > 0, dtype=jnp.int32) - 1


def free_beside_last(p: Float[Array, "... k"], last: Bool[Array, " k"]) -> Float[Array, "... k"]:
    """Log-ratios of probabilities to that of the `last` member, whose own is 0."""
    log, last = bijections.log_to_free(p), last.reshape((1,) * (p.ndim - 1) + last.shape)
    base = jnp.sum(jnp.where(last, log, 0), -1, keepdims=True)
    return jnp.where(last, 0, bijections.log_ratio_to_free(log, base, jnp.max(log, -1, keepdims=True)))


def shares(free: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """The inverse of `free_beside_last`."""
    return jax.nn.softmax(free, -1)
