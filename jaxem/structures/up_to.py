"""Structures of a number of members that each start has for itself, so that one program serves a range of numbers."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem import _bijections as bijections
from jaxem._passed import passed
from jaxem.latent import Chain
from jaxem.structures._structure import AbstractStructure
from jaxem.structures.free_transitions import FreeTransitions
from jaxem.structures.initial import FreeInitial
from jaxem.structures.markov import HMMNatural, Markov, random_transitions
from jaxem.structures.weights import MixtureNatural, Weights


class UpToParams(NamedTuple):
    """Mixing `weights` `[k]`, 1 for each member that is `alive` and 0 for the others, and the `components`."""

    weights: Float[Array, " k"]
    alive: Float[Array, " k"]
    components: Any


class AbstractUpTo(AbstractStructure):
    """A structure of `size` members, `all`, of which a run has the first `count`: its last parameter says which.

    Those that are not there move nowhere. Only a start looks at `count`, which may be traced, so that each of the runs
    that one program advances side by side may have another; `None` is all of them.
    """

    size: int = eqx.field(static=True)
    count: Any = None

    @property
    @abstractmethod
    def all(self) -> Any:
        """What it is with all members."""

    @property
    def num_members(self) -> int:
        return self.size

    def alive(self, dtype: Any) -> Float[Array, " k"]:
        """1 for each member that is there."""
        count = self.size if self.count is None else self.count
        return (jnp.arange(self.size, dtype=jnp.int32) < count).astype(dtype)

    def permuted(self, own, order):
        return (*self.all.permuted(own[:-1], order), own[-1][order])

    def natural(self, own):
        return self.all.natural(own[:-1])

    joint = passed("all")
    counts = passed("all")

    def maximize(self, stats, own, frozen):
        return (*self.all.maximize(stats, own[:-1], frozen), own[-1])

    # Relative to the last member that is alive, as those of `all` to the last one, so that extrapolation goes where it
    # would without the others: these, and that one, have coordinates that do not move.

    def unconstrain(self, own):
        *probabilities, alive = own
        return (*(free_beside_last(p, last_of(alive)) for p in probabilities), alive)

    def constrain(self, free):
        return (*map(shares, free[:-1]), free[-1])

    @property
    def domains(self):
        return {**self.all.domains, "alive": "unit"}


@final
class UpTo(AbstractUpTo):
    """Weights of `size` members, of which a run has the first `count`; the others do not count as lost.

    Those have weight 0, which EM keeps: no row is theirs, and they do not move.
    """

    params_type: ClassVar[Any] = UpToParams
    natural_type: ClassVar[Any] = MixtureNatural
    names: ClassVar[tuple[str, ...]] = ("weights", "alive")

    @property
    def all(self) -> Weights:
        return Weights(self.size)

    def even(self, dtype):
        """Equal weights of the members that are alive."""
        alive = self.alive(dtype)
        return alive / jnp.sum(alive), alive

    def starts_as(self):
        return self

    def start(self, key, weights, data):
        return (weights, self.alive(weights.dtype))

    constant = passed("all")

    def degenerate(self, own):
        weights, alive = own
        return jnp.any((weights == 0) & (alive > 0))


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


class MarkovUpToParams(NamedTuple):
    """What `HMMParams` has, and `alive` `[k]`, 1 for each state that is there and 0 for the others."""

    initial: Float[Array, " k"]
    transition: Float[Array, "k k"]
    alive: Float[Array, " k"]
    emission: Any


@final
class MarkovUpTo(AbstractUpTo):
    """A chain of `size` states, of which a run has the first `count`; see `UpTo`.

    No path begins in one of the others or leads to it, which EM keeps. Their own rows of `transition` lead to states
    that are there, and are not used.
    """

    num_steps: int = eqx.field(static=True, default=1)

    params_type: ClassVar[Any] = MarkovUpToParams
    natural_type: ClassVar[Any] = HMMNatural
    members: ClassVar[str] = "emission"
    sequential: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("initial", "transition", "alive")
    choice: ClassVar[Any] = Chain()

    @property
    def all(self) -> Markov:
        return Markov(self.size, FreeInitial(), FreeTransitions(), self.num_steps)

    def starts_as(self):
        return UpTo(self.size, self.count)

    def start(self, key, weights, data):
        alive = self.alive(weights.dtype)
        transition = random_transitions(key, self.size, weights.dtype, alive)
        return (weights + alive / jnp.sum(alive)) / 2, transition, alive

    def degenerate(self, own):
        initial, transition, alive = own
        entered = self.all.transitions.entered(transition * alive[:, None])
        return jnp.any((initial == 0) & ~entered & (alive > 0))

    def bind(self, data, weights, reduce, frozen=()):
        return dataclasses.replace(self, num_steps=self.all.bind(data, weights, reduce).num_steps)

    rows = passed("all")
    row_weights = passed("all")
    log_bases = passed("all")

    def floats_per_row(self, own, shared, each, lanes):
        return self.all.floats_per_row(own[:-1], shared, each, lanes)

    expanded_per_row = passed("all")
