"""A Markov chain of a number of states that each start has for itself: one program serves a range of numbers."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.latent import Chain
from jaxem.structures._structure import AbstractStructure
from jaxem.structures.free_initial import FreeInitial
from jaxem.structures.free_transitions import FreeTransitions
from jaxem.structures.markov import HMMNatural, Markov, random_transitions
from jaxem.structures.up_to import UpTo, free_beside_last, last_of, shares


class MarkovUpToParams(NamedTuple):
    """What `HMMParams` has, and `alive` `[k]`, 1 for each state that is there and 0 for the others."""

    initial: Float[Array, " k"]
    transition: Float[Array, "k k"]
    alive: Float[Array, " k"]
    emission: Any


@final
class MarkovUpTo(AbstractStructure):
    """A chain of `size` states, of which a run has the first `count`; see `UpTo`.

    No path begins in one of the others or leads to it, which EM keeps. Their own rows of `transition` lead to states
    that are there, and are not used.
    """

    size: int = eqx.field(static=True)
    count: Any = None
    num_steps: int = eqx.field(static=True, default=1)

    params_type: ClassVar[Any] = MarkovUpToParams
    natural_type: ClassVar[Any] = HMMNatural
    members: ClassVar[str] = "emission"
    sequential: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("initial", "transition", "alive")
    choice: ClassVar[Any] = Chain()

    @property
    def num_members(self) -> int:
        return self.size

    @property
    def all(self) -> Markov:
        """What it is with all states."""
        return Markov(self.size, FreeInitial(), FreeTransitions(), self.num_steps)

    @property
    def up_to(self) -> UpTo:
        """The weights of so many members."""
        return UpTo(self.size, self.count)

    def starts_as(self):
        return self.up_to

    def start(self, key, weights, data):
        alive = self.up_to.even(weights.dtype)[1]
        transition = random_transitions(key, self.size, weights.dtype, alive)
        return (weights + alive / jnp.sum(alive)) / 2, transition, alive

    def permuted(self, own, order):
        return own[0][order], own[1][order][:, order], own[2][order]

    def natural(self, own):
        return self.all.natural(own[:2])

    def joint(self, natural, members, hidden, data):
        return self.all.joint(natural, members, hidden, data)

    def counts(self, stats):
        return self.all.counts(stats)

    def maximize(self, stats, own, frozen):
        return (*self.all.maximize(stats, own[:2], frozen), own[2])

    def unconstrain(self, own):
        initial, transition, alive = own
        last = last_of(alive)
        return free_beside_last(initial, last), free_beside_last(transition, last), alive

    def constrain(self, free):
        return shares(free[0]), shares(free[1]), free[2]

    def degenerate(self, own):
        initial, transition, alive = own
        entered = self.all.transitions.entered(transition * alive[:, None])
        return jnp.any((initial == 0) & ~entered & (alive > 0))

    @property
    def domains(self):
        return {**self.all.domains, "alive": "unit"}

    def bind(self, data, weights, reduce, frozen=()):
        return dataclasses.replace(self, num_steps=self.all.bind(data, weights, reduce).num_steps)

    def rows(self, data):
        return self.all.rows(data)

    def row_weights(self, data, weights):
        return self.all.row_weights(data, weights)

    def log_bases(self, data, each):
        return self.all.log_bases(data, each)

    def floats_per_row(self, own, shared, each, lanes):
        return self.all.floats_per_row(own[:2], shared, each, lanes)

    def expanded_per_row(self, shared):
        return self.all.expanded_per_row(shared)
