import jax.numpy as jnp
import numpy as np

from jaxem.termination import Aitken, FixedSteps, Gain, ParameterChange, Step, When
from tests.helpers import engine
from tests.helpers.engine import name, solve


def seen(gain, previous=0.0, params=1.0, noise=1e-12, rise=None, digit=0.0):
    as_params = lambda v: {"a": jnp.asarray([v, v])}  # noqa: E731
    numbers = -3.0, gain, 5, noise, gain if rise is None else rise, digit
    return Step(as_params(previous), as_params(params), *map(jnp.asarray, numbers))


def verdicts(termination, gains, tol, **options):
    state, out = termination.init({"a": jnp.zeros(2)}, jnp.float64), []
    for gain in gains:
        stop, state = termination(seen(gain, **options), jnp.asarray(tol), state)
        out.append(bool(stop))
    return out


def test_gain():
    assert verdicts(Gain(), [1e-2, 1e-6, 0.9e-6, 0.0, -1e-13], 1e-6) == [False, True, True, True, True]


def test_a_loss_is_no_small_gain():
    assert verdicts(Gain(), [-1e-3, -2e-12], 1e-6) == [False, False]
    assert verdicts(Aitken(), [1.0, -1e-3], 1e-6) == [False, False]
    assert verdicts(Gain(), [np.nan], 1e-6) == verdicts(Aitken(), [np.nan, np.nan][:1], 1e-6) == [False]


def test_what_was_lost_and_found_again_is_no_standstill():
    for termination in (Gain(), Aitken()):
        assert verdicts(termination, [1.0, 0.0], 1e-6, rise=1e-3)[1:] == [False]
        assert verdicts(termination, [1.0, 0.0], 1e-6, rise=1e-7)[1:] == [True]
        assert verdicts(termination, [1.0, 0.0], 1e-6, rise=1e-3, noise=1e-2)[1:] == [True]
        assert verdicts(termination, [1.0, -1e-5], 1e-3, rise=1e-4)[1:] == [False]


def test_aitken_knows_the_limit_of_a_geometric_sequence():
    """After gain g the rest of a sequence of rate r is g r / (1 - r)."""
    rate, gains = 0.9, 0.9 ** np.arange(200)
    stops = verdicts(Aitken(), gains, 1e-3)
    remaining = gains * rate / (1 - rate)
    assert stops == [False, *(remaining[1:] <= 1e-3 * (1 + 1e-9)).tolist()]


def test_aitken_waits_while_gains_grow():
    assert verdicts(Aitken(), [1e-9, 2e-9, 4e-9, 4e-9], 1e-6) == [False] * 4
    assert verdicts(Aitken(), [1e-9, 0.0], 1e-12) == [False, True]


def test_aitken_does_not_trust_a_first_fall_of_the_gain():
    """From a start the second gain can be small beside the first, and the third not beside the second."""
    assert verdicts(Aitken(), [1.0, 1e-4, 0.9e-4, 0.8e-4], 1e-6) == [False] * 4
    assert verdicts(Aitken(), [1.0, 1e-4, 1e-8], 1e-6) == [False, False, True]


def test_aitken_tells_standstill_from_steps_too_small_to_be_seen():
    """Gains of less than the last digit of the objective show as that digit or as 0."""
    digit = 1e-13
    assert verdicts(Aitken(), [0.0], 0.0) == [True]
    assert verdicts(Aitken(), [1.0, 0.0], 0.0) == [False, True]
    assert verdicts(Aitken(), [0.25, 0.0625, 1e-6], 1e-6, digit=1e-6) == [False, False, True]
    assert verdicts(Aitken(), [0.25, 0.0625, 1e-6], 1e-6, digit=4e-6) == [False] * 3
    assert verdicts(Aitken(), [1.0, digit, 0.0, digit, 0.0, 0.0, 0.0], 0.0) == [False] * 6 + [True]
    assert verdicts(Aitken(), [digit, -digit, digit, digit], 1e-6) == [False] * 4
    assert verdicts(Aitken(), [1.0, digit, -digit, digit, -digit], 0.0) == [False] * 4 + [True]  # round and round


def test_parameter_change_is_a_norm():
    assert verdicts(ParameterChange(), [1.0], np.sqrt(2) * 1.001) == [True]
    assert verdicts(ParameterChange(), [1.0], np.sqrt(2) * 0.999) == [False]


def test_when_and_fixed_steps():
    condition = When(lambda step, tol: step.num_steps >= tol)
    assert verdicts(condition, [1.0], 5.0) == [True]
    assert verdicts(condition, [1.0], 6.0) == [False]
    assert verdicts(FixedSteps(), [0.0, -1.0], 1e9) == [False, False]


def test_aitken_stops_within_tol_of_the_maximum_where_the_gain_does_not():
    case = engine.case("full")
    tol, n = 1e-5, len(case.x)
    best = solve(case.model, case.start, case.x, tol=1e-12).objective
    by_gain = solve(case.model, case.start, case.x, tol=tol, termination=Gain())
    by_limit = solve(case.model, case.start, case.x, tol=tol)
    assert name(by_gain) == name(by_limit) == "converged"
    assert (best - by_gain.objective) / n > 2 * tol
    assert (best - by_limit.objective) / n <= 1.2 * tol


def test_a_change_of_parameters_is_in_the_coordinates_of_the_user():
    case = engine.case("spherical")
    fit = solve(case.model, case.start, case.x, tol=1e-4, termination=ParameterChange())
    assert name(fit) == "converged"
    steps = int(fit.num_steps)
    two, one = (solve(case.model, case.start, case.x, tol=-1.0, max_steps=steps - i).params for i in (2, 1))
    assert distance(one, fit.params) <= 1e-4 < distance(two, one)


def distance(a, b):
    leaves = zip(engine.as_oracle(a).components, engine.as_oracle(b).components, strict=True)
    return np.sqrt(sum(np.sum((x - y) ** 2) for x, y in leaves) + np.sum((np.asarray(a.weights - b.weights)) ** 2))
