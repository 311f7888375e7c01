"""The search for limits, on profiles that are known in closed form."""

import numpy as np
import pytest

from jaxem.information._limits import Profiler
from jaxem.information._ridge import Ridge

LEVEL = 1.96


def profiler(fall, slope, reached=lambda t: t == t, settled=lambda t: t == t, ends=(-1e4, 1e4), lanes=9):
    """That of a function of one coordinate, the place itself."""

    def run(targets, starts, bound):
        t = np.where(bound, targets, 0.0)
        values = np.where(reached(t), fall(t), np.inf)
        return Ridge(
            t[:, None], t, values, slope(t), 0 * t, reached(t), reached(t) & settled(t), np.ones(len(t), int), {"a": t}
        )

    return Profiler(run, lanes, np.ones(1), LEVEL, 1e-5, ends)


def test_a_parabola():
    low, high = profiler(lambda t: t**2 / 2, lambda t: t).limits()
    assert (low.kind, high.kind) == ("crossed", "crossed")
    np.testing.assert_allclose((low.value, high.value), (-LEVEL, LEVEL), rtol=1e-9)
    assert low.again is None


@pytest.mark.parametrize("skew", [0.3, 0.9, -0.5])
def test_a_skewed_one(skew):
    """Of which the signed root is `sinh(skew t) / skew`."""
    root = lambda t: np.sinh(skew * t) / skew  # noqa: E731
    found = profiler(lambda t: root(t) ** 2 / 2, lambda t: root(t) * np.cosh(skew * t)).limits()
    wanted = np.arcsinh(skew * LEVEL) / skew
    np.testing.assert_allclose([limit.value for limit in found], [-wanted, wanted], rtol=1e-7)


def test_a_limit_that_is_far():
    found = profiler(lambda t: (t / 50) ** 2 / 2, lambda t: t / 2500).limits()
    np.testing.assert_allclose([limit.value for limit in found], [-50 * LEVEL, 50 * LEVEL], rtol=1e-7)


def test_one_that_there_is_not():
    low, high = profiler(
        lambda t: np.tanh(t) ** 2 / 2, lambda t: np.tanh(t) / np.cosh(t) ** 2, ends=(-30.0, 40.0)
    ).limits()
    assert (low.kind, low.value, high.kind, high.value) == ("open", -np.inf, "open", np.inf)
    np.testing.assert_allclose(high.root, 1, rtol=1e-6)


def test_the_end_of_the_function_and_a_maximum_that_is_lost():
    given = lambda t: t**2 / 2, lambda t: t
    low, high = profiler(*given, reached=lambda t: t < 1.2, settled=lambda t: t > -0.7).limits()
    assert (low.kind, high.kind) == ("lost", "end")
    np.testing.assert_allclose((low.value, high.value), (-0.7, 1.2), atol=2e-3)


def test_a_jump_is_no_crossing():
    low, high = profiler(lambda t: np.where(t < 0.8, t**2 / 2, 1000 + t), lambda t: t).limits()
    assert (low.kind, high.kind) == ("crossed", "lost")
    np.testing.assert_allclose(high.value, 0.8, atol=2e-3)


def test_a_better_maximum_and_another_part():
    better = profiler(lambda t: t**2 / 2 - 4.0 * (t > 1.0), lambda t: t).limits()[1]
    assert (better.kind, better.place > 1.0) == ("better", True)
    # Beyond the level on the first hill, and below it again on the way to another.
    wave = profiler(lambda t: 2.5 * np.sin(t * 1.2) ** 2, lambda t: 3 * np.sin(2.4 * t)).limits()[1]
    assert wave.kind == "crossed"
    assert wave.again is not None
    np.testing.assert_allclose(2.5 * np.sin(1.2 * wave.value) ** 2, LEVEL**2 / 2, rtol=1e-6)


def test_where_a_grid_ends():
    found = profiler(lambda t: np.tanh(t) ** 2 / 2, lambda t: np.tanh(t), ends=(-30.0, 40.0))
    low, high = found.limits()
    np.testing.assert_allclose((found.last(-1, low), found.last(1, high)), (-1.5 * LEVEL, 1.5 * LEVEL), rtol=1e-9)
