"""The verdict on a step: a pure function of the evidence."""

from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxem._status import Status, status_code, status_from_code


class Comparison(NamedTuple):
    """The objective against the reference, per unit of weight."""

    gain: Array
    noise: Array  # the largest fall that rounding explains
    largest_gain: Array  # of a single step since the reference
    known: Array  # true if all rules allow the comparison, and there is a reference
    digit: Array  # the last digit of the objective


def compare(
    objective: Array,
    last: Array,
    reference: Any,
    rounding: Array,
    total_weight: Array,
    comparable: Any,
    fresh: Array,
) -> Comparison:
    """Compares an `objective` with the `reference` (its objective, and the largest gain since), and with the `last`.

    `rounding` is the relative error that rounding leaves in the statistics.
    """
    eps = jnp.finfo(objective.dtype).eps
    gain = (objective - reference.objective) / total_weight
    # Neither a value thrown far away nor an error that nobody would trust may make a fall pass for rounding.
    size = jnp.minimum(jnp.abs(objective), jnp.abs(reference.objective)) / total_weight
    noise = 16 * eps * (size + 1) + 4 * jnp.minimum(rounding, jnp.sqrt(eps))
    largest = jnp.maximum(reference.largest_gain, (objective - last) / total_weight)
    known = jnp.isfinite(reference.objective)
    return Comparison(
        gain,
        noise,
        jax.lax.select(fresh, reference.largest_gain, largest),
        known if comparable is True else known & comparable,
        eps * size,
    )


class Evidence(NamedTuple):
    """What is known after parameters have been evaluated. The last five fields are known before the run."""

    gain: Array  # per unit of weight, over the reference
    noise: Array  # the largest fall that rounding explains
    known: Array  # true if the gain means something
    finite: Array  # true if objective, parameters and statistics are
    rounding: Array  # relative error that rounding leaves in the statistics
    degenerate: Array  # true if the likelihood is spurious here
    fresh: Array  # true for the evaluation of a start: nothing has moved
    plain: Any  # true if nothing was extrapolated on the way here
    midway: Any  # true if an accelerator has to go on before the objective may be compared
    stop: Array  # the termination's answer
    rule_stop: Array | None  # the E rule's own answer, which goes before; `None` for a rule that has none
    num_steps: Array
    max_steps: Array
    caveat: Any  # of the last accepted iterate
    monotone: bool = True  # the algorithm never lowers the objective
    moves_on: bool = False  # a run without accuracy stops here, to go on on the accurate kernel
    done: Any = Status.converged  # the status of a run that the termination ends
    at_limit: Any = Status.max_steps_reached  # the status of a run that ends at `max_steps`


class Verdict(NamedTuple):
    """What is to be done."""

    accept: Array  # true: go there; false: back to the last iterate
    retry: Array  # true if the run goes on from the last iterate, without extrapolation
    status: Any
    caveat: Any  # the status of a run that ends well at the new parameters


def judge(e: Evidence) -> Verdict:
    """Accepts a step or sends the run back, and says whether and how it ends."""
    untrusted = e.rounding > jnp.sqrt(jnp.finfo(e.gain.dtype).eps)
    reasons = [(~e.finite, Status.not_finite)]
    if e.moves_on:
        reasons.append((untrusted, Status.inaccurate))
    else:
        # On the way to a likelihood without bound nothing better is to come once the digits are gone.
        reasons.append((untrusted & e.degenerate & ~e.fresh, Status.degenerate_component))
    if e.monotone:
        reasons.append((e.known & ~e.fresh & (e.gain < -e.noise), Status.objective_decreased))
    lost = reduce(or_, (holds for holds, _ in reasons))
    retry = jnp.zeros((), bool) if e.plain is True else lost & ~e.plain & ~e.fresh

    over = e.num_steps >= e.max_steps
    stop = (e.stop & e.known if e.rule_stop is None else e.rule_stop) & ~e.fresh
    again = [] if e.plain is True else [(retry & over, e.at_limit), (retry, Status.running)]
    ends = [(stop, e.done), (over if e.midway is False else over & ~e.midway, e.at_limit)]
    status = _first(*again, *reasons, *ends, otherwise=Status.running)
    doubts = (e.degenerate, Status.degenerate_component), (untrusted, Status.inaccurate)
    caveat = _first(*doubts, otherwise=Status.converged)
    kept = jax.lax.select(lost, status_code(e.caveat), caveat)
    return Verdict(~lost, retry, status_from_code(_with_caveat(status, kept)), status_from_code(caveat))


def _with_caveat(status: Array, caveat: Array) -> Array:
    """The status of a run, or the caveat on what it returns if it seems to have ended well.

    Where the iterate cannot be trusted a fall is only a sign of it: what matters is that the fit is degenerate.
    """
    ended = [status == _code(item) for item in (Status.converged, Status.completed, Status.objective_decreased)]
    return jax.lax.select(reduce(or_, ended) & (caveat != _code(Status.converged)), caveat, status)


def _first(*cases: tuple[Array, Any], otherwise: Any) -> Array:
    """The code of the first status whose condition holds."""
    code = _code(otherwise)
    for holds, status in reversed(cases):
        code = jax.lax.select(holds, _code(status), code)
    return code


def _code(status: Any) -> Array:
    return jnp.asarray(status_code(status))
