"""Rounds: how far each goes."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from jaxem.engine import runner


class Problem(NamedTuple):
    max_steps: int


@pytest.mark.parametrize(("left", "steps"), [(1, 8), (8, 8), (9, 9), (16, 16), (17, 8)])
def test_a_round_goes_to_the_end_of_runs_that_is_near(left, steps, monkeypatch):
    """A fresh run has made -1 steps: its first iteration is none."""
    asked = []
    monkeypatch.setattr(runner, "advance", lambda *args: SimpleNamespace(of=lambda problem, lanes, n: asked.append(n)))
    one = runner.AtHand(few=8)
    for age in (-1.0, 3.0, 3.4):
        one.advance(Problem(left + int(np.floor(age))), None, age, 1)
    assert asked == [steps] * 3
    assert max(asked) <= one.round_steps == 16  # of which the history holds one more
