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

    `gain` is per unit of weight, `noise` what rounding can make of it, and `digit` the last digit of the objective.
    Where several steps are judged together `largest_gain` is that of the best of them.
    """

    previous: PyTree
    params: PyTree
    objective: Array
    gain: Array
    num_steps: Array
    noise: Array
    largest_gain: Array
    digit: Array

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


class Gains(NamedTuple):
    """The gains of the last two steps, infinite until there are any."""

    last: Array
    before: Array


@final
class Aitken(AbstractTermination):
    """The objective is within `tol` per unit of weight of its Aitken-extrapolated limit. The default.

    Unlike the gain, it tells slow convergence from convergence. Boehning et al. (1994). It extrapolates by the slower
    of the last two ratios of gains: the first steps from a start gain much and say little of the rate to come. A gain
    may be larger than it shows by a digit. Nothing is left to gain after a step without gain, if the one before gained
    more than rounding does; else if the last three together gained nothing, because steps that gain less than the
    precision can show still lead somewhere.

    **Example**

    >>> import jaxem
    >>> termination = jaxem.termination.Aitken()
    """

    def init(self, params, dtype):
        unknown = jnp.full((), jnp.inf, dtype)
        return Gains(last=unknown, before=unknown)

    def __call__(self, step, tol, state):
        gain, last, before = step.gain, *state
        slowest = jnp.maximum(gain / last, last / before)
        known = (gain > 0) & (last > 0) & (before > 0) & jnp.isfinite(before)
        within = known & (slowest < 1) & ((gain + step.digit) * slowest / (1 - slowest) <= tol)
        nothing = (gain <= 0) & ((last > step.noise) | (gain + last + before <= 0))
        return (within | nothing) & step.steady(tol), Gains(last=gain, before=last)


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

    It can lose the best start, and no rule that looks at objectives alone cannot: on a plateau a start gains next to
    nothing before it goes on. Of 128 to 256 starts each of 33 Gaussian mixtures (Old Faithful, iris, wine, drawn ones
    that overlap; 2 to 6 components) most winners once lacked a hundred to a few thousand times the largest gain of
    their last eight iterations, and one of them 1.5 million times. So no start is dropped by default.

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
