"""A Markov chain of a number of states that each start has for itself: one program serves a range of numbers."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem._passed import passed
from jaxem.latent import Chain
from jaxem.structures.free_initial import FreeInitial
from jaxem.structures.free_transitions import FreeTransitions
from jaxem.structures.markov import HMMNatural, Markov, random_transitions
from jaxem.structures.up_to import AbstractUpTo, UpTo


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
