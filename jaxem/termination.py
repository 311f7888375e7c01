"""When a run stops."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxem._status import Status


def default_tolerance(dtype: Any) -> float:
    """The `tol` of a run that is not told: what the precision can tell apart in an objective of usual size."""
    return 1e-8 if jnp.dtype(dtype) == jnp.float64 else 1e-6


class Step(NamedTuple):
    """One accepted iteration, as a termination sees it.

    `gain` is per unit of weight, and `noise` what rounding can make of it. Where several steps are judged together
    `largest_gain` is that of the best of them.
    """

    previous: PyTree
    params: PyTree
    objective: Array
    gain: Array
    num_steps: Array
    noise: Array
    largest_gain: Array

    def steady(self, tol: Array) -> Array:
        """Whether nothing was lost, and no step regained more than `tol` of what another had lost: that adds up to
        nothing, and yet is no standstill. Accelerators overshoot so."""
        level = (self.largest_gain <= self.gain) | (self.largest_gain <= jnp.maximum(tol, self.noise))
        return level & (self.gain >= -self.noise)


class AbstractTermination(eqx.Module):
    """When to stop. Under a monotone algorithm, a gain that is negative beyond rounding never reaches it."""

    at_limit: ClassVar[Any] = Status.max_steps_reached
    done: ClassVar[Any] = Status.converged

    def init(self, params: PyTree, dtype: Any) -> PyTree:
        """State carried between iterations."""
        return ()

    @abstractmethod
    def __call__(self, step: Step, tol: Array, state: PyTree) -> tuple[Array, PyTree]:
        """Whether to stop after this iteration, and the next state."""


@final
class Gain(AbstractTermination):
    """The objective gained at most `tol` per unit of weight (nats per observation).

    Where EM is slow that says little: a gain of 1e-6 may be made a thousand times over.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.Gain()
    """

    def __call__(self, step, tol, state):
        return (step.gain <= tol) & step.steady(tol), state


class Gained(NamedTuple):
    """What `Aitken` remembers: the last gain, and the ratio of the last two. Infinite until there are any."""

    gain: Array
    rate: Array


@final
class Aitken(AbstractTermination):
    """The objective is within `tol` per unit of weight of its Aitken-extrapolated limit. The default.

    Unlike the gain, it tells slow convergence from convergence. Boehning et al. (1994). It extrapolates by the slower of
    the last two ratios of gains: the first steps from a start gain much and say little of the rate to come.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.Aitken()
    """

    def init(self, params, dtype):
        unknown = jnp.full((), jnp.inf, dtype)
        return Gained(gain=unknown, rate=unknown)

    def __call__(self, step, tol, state):
        rate = jnp.where(jnp.isfinite(state.gain), step.gain / state.gain, jnp.inf)
        slowest = jnp.maximum(rate, state.rate)
        within = (slowest < 1) & (step.gain * slowest / (1 - slowest) <= tol)
        return ((step.gain <= 0) | within) & step.steady(tol), Gained(gain=step.gain, rate=rate)


@final
class ParameterChange(AbstractTermination):
    """The Euclidean norm of the change of all parameters, in the coordinates of the user, is at most `tol`.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.ParameterChange()
    """

    def __call__(self, step, tol, state):
        squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), step.params, step.previous)
        return jnp.sqrt(sum(jax.tree.leaves(squares))) <= tol, state


@final
class FixedSteps(AbstractTermination):
    """Runs for exactly `max_steps` iterations; the status is `completed`.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.FixedSteps()
    """

    at_limit: ClassVar[Any] = Status.completed

    def __call__(self, step, tol, state):
        return jnp.zeros((), bool), state


@final
class When(AbstractTermination):
    """Stops when `condition(step, tol)` is true; `step` is a `jaxem.termination.Step`.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.When(lambda step, tol: step.gain <= tol * abs(step.objective))
    """

    condition: Callable[[Step, Array], Array] = eqx.field(static=True)

    def __call__(self, step, tol, state):
        return jnp.asarray(self.condition(step, tol), bool), state


@final
class Racing(eqx.Module):
    """Successive halving: all starts run `steps` iterations, the best fraction `keep` goes on for `growth` times as
    many, and so on until `finalists` or fewer are left; those run to the end.

    Jamieson and Talwalkar (2016). A start that is dropped has status `eliminated` and the objective it had then.

    **Example**

    >>> import jaxem
    >>> racing = jaxem.termination.Racing(steps=10, keep=0.25)
    """

    steps: int = eqx.field(static=True, default=10)
    keep: float = eqx.field(static=True, default=0.25)
    growth: int = eqx.field(static=True, default=3)
    finalists: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        if self.steps < 1 or not 0 < self.keep < 1 or self.growth < 1 or self.finalists < 1:
            raise ValueError(f"racing needs steps >= 1, 0 < keep < 1, growth >= 1 and finalists >= 1, got {self}")
