"""The verdict on a step: a row for each status and each way to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem._status import NAMES, Status, status_name
from jaxem.engine.judge import Evidence, compare, judge
from jaxem.engine.state import Reference

pytestmark = pytest.mark.optimized

YES, NO = True, False
# A plain step of EM, the fifth of a hundred, that gained something: on such a one nothing ends.
STEP = {
    "gain": 0.1,
    "noise": 1e-12,
    "known": YES,
    "finite": YES,
    "rounding": 1e-15,
    "degenerate": NO,
    "fresh": NO,
    "plain": YES,
    "midway": NO,
    "stop": NO,
    "rule_stop": None,
    "num_steps": 5,
    "max_steps": 100,
    "caveat": Status.converged,
}
EXTRAPOLATED = {"plain": jnp.zeros((), bool)}
START = {"fresh": YES, "num_steps": 0, "known": NO}
LAST = {"num_steps": 100}
POOR = {"rounding": 1e-6}  # beyond the square root of the precision

# (what happened, evidence, status, what is done, the caveat on what is returned)
TABLE = [
    # Going on
    ("a gain", {}, "running", "accept", "converged"),
    ("a start", START, "running", "accept", "converged"),
    ("a start is not compared", START | {"known": YES, "gain": -9.0, "stop": YES}, "running", "accept", "converged"),
    ("a fall that rounding explains", {"gain": -0.9e-12}, "running", "accept", "converged"),
    ("a fall that is not to be compared", {"known": NO, "gain": -9.0}, "running", "accept", "converged"),
    ("a fall of an algorithm that may", {"monotone": NO, "gain": -9.0}, "running", "accept", "converged"),
    ("a good extrapolated step", EXTRAPOLATED, "running", "accept", "converged"),
    # Falls
    ("a fall", {"gain": -1.1e-12}, "objective_decreased", "back", "converged"),
    ("a fall that looks like the end", {"gain": -0.1, "stop": YES}, "objective_decreased", "back", "converged"),
    ("a fall at the limit", {"gain": -0.1} | LAST, "objective_decreased", "back", "converged"),
    ("an extrapolated fall", {"gain": -0.1} | EXTRAPOLATED, "running", "retry", "converged"),
    ("an extrapolated fall at the limit", {"gain": -0.1} | EXTRAPOLATED | LAST, "max_steps_reached", "retry", None),
    (
        "an extrapolated fall at the end of fixed steps",
        {"gain": -0.1, "at_limit": Status.completed} | EXTRAPOLATED | LAST,
        "completed",
        "retry",
        None,
    ),
    (
        "a fall from where the fit was degenerate",
        {"gain": -0.1, "caveat": Status.degenerate_component},
        "degenerate_component",
        "back",
        None,
    ),
    ("a fall from where digits were gone", {"gain": -0.1, "caveat": Status.inaccurate}, "inaccurate", "back", None),
    ("a fall to where the fit is degenerate", {"gain": -0.1, "degenerate": YES}, "objective_decreased", "back", None),
    # Numbers that are none
    ("not finite", {"finite": NO}, "not_finite", "back", "converged"),
    ("not finite, and as if at the end", {"finite": NO, "stop": YES} | LAST, "not_finite", "back", "converged"),
    ("not finite, from a degenerate fit", {"finite": NO, "caveat": Status.inaccurate}, "not_finite", "back", None),
    ("not finite, on an accurate kernel to come", {"finite": NO, "moves_on": YES} | POOR, "not_finite", "back", None),
    ("a start that is not finite", {"finite": NO} | START, "not_finite", "back", "converged"),
    ("a start that is not finite, extrapolating", {"finite": NO} | START | EXTRAPOLATED, "not_finite", "back", None),
    ("an extrapolated step that is not finite", {"finite": NO} | EXTRAPOLATED, "running", "retry", "converged"),
    # Lost digits
    ("lost digits, an accurate kernel to come", {"moves_on": YES} | POOR, "inaccurate", "back", None),
    ("a start without digits, one to come", {"moves_on": YES} | POOR | START, "inaccurate", "back", None),
    (
        "lost digits on the way to a degenerate fit, one to come",
        {"moves_on": YES, "degenerate": YES} | POOR,
        "inaccurate",
        "back",
        None,
    ),
    (
        "an extrapolated step without digits, one to come",
        {"moves_on": YES} | POOR | EXTRAPOLATED,
        "running",
        "retry",
        None,
    ),
    ("digits to spare, one to come", {"moves_on": YES, "rounding": 1e-9}, "running", "accept", "converged"),
    ("lost digits, and no other kernel", POOR, "running", "accept", "inaccurate"),
    ("lost digits at convergence", {"stop": YES} | POOR, "inaccurate", "accept", "inaccurate"),
    ("lost digits after fixed steps", {"at_limit": Status.completed} | POOR | LAST, "inaccurate", "accept", None),
    ("lost digits at the limit", POOR | LAST, "max_steps_reached", "accept", "inaccurate"),
    # Degenerate fits
    ("a component at its floor", {"degenerate": YES}, "running", "accept", "degenerate_component"),
    ("a degenerate fit that converges", {"degenerate": YES, "stop": YES}, "degenerate_component", "accept", None),
    (
        "a degenerate fit after fixed steps",
        {"degenerate": YES, "at_limit": Status.completed} | LAST,
        "degenerate_component",
        "accept",
        None,
    ),
    ("a degenerate fit at the limit", {"degenerate": YES} | LAST, "max_steps_reached", "accept", None),
    (
        "a collapse: degenerate, and the digits are gone",
        {"degenerate": YES} | POOR,
        "degenerate_component",
        "back",
        None,
    ),
    ("a collapse in an extrapolated step", {"degenerate": YES} | POOR | EXTRAPOLATED, "running", "retry", None),
    ("a start that looks collapsed", {"degenerate": YES} | POOR | START, "running", "accept", "degenerate_component"),
    # Ends
    ("converged", {"stop": YES}, "converged", "accept", "converged"),
    ("converged at the limit", {"stop": YES} | LAST, "converged", "accept", "converged"),
    ("converged, from a degenerate fit", {"stop": YES, "caveat": Status.inaccurate}, "converged", "accept", None),
    ("converged, had it been compared", {"stop": YES, "known": NO}, "running", "accept", "converged"),
    ("ended by a termination of another status", {"stop": YES, "done": Status.completed}, "completed", "accept", None),
    ("the E rule has converged", {"rule_stop": YES, "known": NO}, "converged", "accept", "converged"),
    ("the E rule has not", {"rule_stop": NO, "stop": YES}, "running", "accept", "converged"),
    ("the E rule has at a start", {"rule_stop": YES} | START, "running", "accept", "converged"),
    ("the limit", LAST, "max_steps_reached", "accept", "converged"),
    ("the limit of fixed steps", {"at_limit": Status.completed} | LAST, "completed", "accept", "converged"),
    ("a limit of no steps", START | {"max_steps": 0}, "max_steps_reached", "accept", "converged"),
    ("beyond the limit", {"num_steps": 101}, "max_steps_reached", "accept", "converged"),
    ("one before the limit", {"num_steps": 99}, "running", "accept", "converged"),
    ("the limit in the middle of a cycle", {"midway": YES} | LAST | EXTRAPOLATED, "running", "accept", "converged"),
]
FIXED = ("rule_stop", "monotone", "moves_on", "done", "at_limit", "caveat")


def verdict(evidence):
    given = STEP | evidence
    given = {
        name: value if value is None or (value is True and name == "plain") or name in FIXED[1:] else jnp.asarray(value)
        for name, value in given.items()
    }
    return judge(Evidence(**given))


@pytest.mark.parametrize(
    ("evidence", "status", "action", "caveat"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_every_status_and_each_way_to_it(evidence, status, action, caveat):
    found = verdict(evidence)
    assert status_name(found.status) == status
    assert (bool(found.accept), bool(found.retry)) == {"accept": (1, 0), "back": (0, 0), "retry": (0, 1)}[action]
    assert caveat in (None, status_name(found.caveat))


def test_the_table_holds_every_status_that_a_run_can_end_with():
    ended_by_the_search = {"eliminated", "stopped"}
    assert {row[2] for row in TABLE} | ended_by_the_search == set(NAMES)


def compared(objective, last=-10.0, reference=(-10.0, -np.inf), rounding=0.0, weight=10.0, comparable=True, fresh=NO):
    reference = Reference(*map(jnp.asarray, reference))
    numbers = map(jnp.asarray, (rounding, weight))
    allowed = comparable if comparable is True else jnp.asarray(comparable)
    return compare(jnp.asarray(objective), jnp.asarray(last), reference, *numbers, allowed, jnp.asarray(fresh))


def test_gains_are_counted_per_unit_of_weight_from_the_reference():
    found = compared(-4.0, last=-5.0, reference=(-10.0, -np.inf))
    np.testing.assert_allclose((found.gain, found.largest_gain), (0.6, 0.1), rtol=1e-15)
    np.testing.assert_allclose(compared(-4.0, last=-5.0, reference=(-10.0, 0.4)).largest_gain, 0.4, rtol=1e-15)
    np.testing.assert_allclose(compared(-4.0, reference=(-10.0, 0.4), fresh=YES).largest_gain, 0.4, rtol=1e-15)


def test_a_comparison_needs_a_reference_and_the_rules_leave():
    assert compared(-4.0).known
    assert not compared(-4.0, comparable=NO).known
    assert not compared(-4.0, reference=(-np.inf, -np.inf)).known


def test_noise_is_bounded_whatever_the_size_of_what_went_wrong():
    eps = np.finfo(float).eps
    np.testing.assert_allclose(compared(-10.0).noise, 32 * eps, rtol=1e-12)
    np.testing.assert_allclose(compared(-1e30).noise, 32 * eps, rtol=1e-12)
    np.testing.assert_allclose(compared(-10.0, rounding=1e-12).noise, 32 * eps + 4e-12, rtol=1e-12)
    np.testing.assert_allclose(compared(-10.0, rounding=1.0).noise, 32 * eps + 4 * np.sqrt(eps), rtol=1e-12)


def test_single_precision_has_limits_of_its_own():
    given = {name: jnp.asarray(value) for name, value in STEP.items() if name not in (*FIXED, "plain")}
    given = {n: v.astype(jnp.float32) if jnp.issubdtype(v.dtype, jnp.floating) else v for n, v in given.items()}

    def ending(rounding):
        changed = given | {"rounding": jnp.float32(rounding), "stop": jnp.asarray(True)}
        return status_name(judge(Evidence(**changed, plain=True, rule_stop=None, caveat=Status.converged)).status)

    assert [ending(1e-4), ending(1e-3)] == ["converged", "inaccurate"]


def test_verdicts_in_lanes_do_not_touch_each_other():
    cases = [{}, {"finite": NO}, {"gain": -0.1}, {"stop": YES}, {"degenerate": YES, "stop": YES}]
    names = sorted({name for case in cases for name in case})
    lanes = {name: jnp.asarray([(STEP | case)[name] for case in cases]) for name in names}

    def one(lane):
        rest = {n: v if n in FIXED or n == "plain" else jnp.asarray(v) for n, v in STEP.items()}
        return judge(Evidence(**(rest | lane)))

    expected = [status_name(verdict(case).status) for case in cases]
    assert status_name(jax.vmap(one)(lanes).status) == expected
