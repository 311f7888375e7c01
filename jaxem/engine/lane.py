"""One lane of several: taken out, kept for later, put beside others, given to another run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxem.engine.programs import program
from jaxem.engine.state import State
from jaxem.engine.trees import in_memory, on_host
from jaxem.kernels.linalg import trailing


@program(quickly=True, level=0)
def take_on_device(lanes: State, lane: Array) -> State:
    """What `take` calls where the lanes are not on the host."""
    return jax.tree.map(lambda leaf: leaf[lane], lanes)


def take(lanes: State, lane: np.ndarray) -> State:
    """One lane, or several for an array of numbers."""
    if not in_memory(lanes):
        return take_on_device(lanes, lane)
    return on_host(lambda leaf: np.array(leaf[lane]), lanes)  # a copy, which does not keep the other lanes


class Lane(NamedTuple):
    """One of several lanes, or by itself where it has no `number`; a state is made of it where one is asked for.

    To take each of thousands by itself, and put these together, costs the host more than what they compute. It is
    `apart` where the lanes are on the host, and only those that ended together.
    """

    lanes: State
    number: int | None = None
    apart: bool = False

    def state(self) -> State:
        return self.lanes if self.number is None else take(self.lanes, np.asarray(self.number, np.int32))

    def by_itself(self) -> "Lane":
        """The same without the other lanes, which would be kept with it."""
        return Lane(self.state())

    def set_aside(self) -> "Lane":
        """The same to be kept for long: with the lanes that ended with it on the host, by itself on a device."""
        return self if self.apart else self.by_itself()


def apart(lanes: State, numbers: np.ndarray) -> list[Lane]:
    """Several of the lanes: on the host with one another alone, so that they keep none of the others."""
    if not in_memory(lanes):
        return [Lane(lanes, number) for number in numbers.tolist()]
    some = take(lanes, numbers)
    return [Lane(some, i, apart=True) for i in range(len(numbers))]


@program(quickly=True, level=0)
def _stack(states: tuple[State, ...]) -> State:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def stack(runs: Sequence[Lane]) -> State:
    """Several runs side by side."""
    kept = {id(run.lanes): run.lanes for run in runs}
    if not in_memory(*kept.values()):
        return _stack(tuple(run.state() for run in runs))
    owner = np.array([id(run.lanes) for run in runs])
    places = [np.flatnonzero(owner == one) for one in kept]
    # `...` takes all of a run that is by itself.
    numbers: list[Any] = [
        ... if runs[own[0]].number is None else [runs[i].number for i in own.tolist()] for own in places
    ]

    def one(*leaves: np.ndarray) -> np.ndarray:
        shape = leaves[0].shape if numbers[0] is ... else leaves[0].shape[1:]
        found = np.empty((len(runs), *shape), leaves[0].dtype)
        for leaf, own, which in zip(leaves, places, numbers, strict=True):
            found[own] = leaf[which]
        return found

    return on_host(one, *kept.values())


@program(quickly=True, level=0)
def refill_on_device(lanes: State, block: State, source: Array) -> State:
    """What `refill` calls where the lanes are not on the host."""
    return jax.tree.map(
        lambda old, new: jnp.where(trailing(source >= 0, old), new[jnp.maximum(source, 0)], old), lanes, block
    )


def refill(lanes: State, block: State, source: np.ndarray) -> State:
    """Lanes in which `source >= 0` become that entry of `block`."""
    if not in_memory(lanes, block):
        return refill_on_device(lanes, block, source)
    fresh = source >= 0

    def one(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        filled = old.copy()
        filled[fresh] = new[source[fresh]]
        return filled

    return on_host(one, lanes, block)
