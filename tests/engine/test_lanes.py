"""Lanes that are filled, taken and stacked: on the host the arrays of the programs, to the bit."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.engine import lanes, runner, trees

SOURCE = np.array([2, -1, 0, -1], np.int32)


def tree(first: int):
    """As in a state: numbers of several shapes and types, random keys, and what is no array for one lane."""
    return {
        "number": jnp.arange(first, first + 4.0),
        "matrix": jnp.arange(24.0).reshape(4, 3, 2) + first,
        "flag": jnp.arange(4) % 2 == first % 2,
        "steps": jnp.arange(4, dtype=jnp.int32) + first,
        "key": jax.random.split(jax.random.key(first), 4),
    }


def numbers(value):
    return [np.asarray(jax.random.key_data(x) if trees.is_key(x) else x) for x in jax.tree.leaves(value)]


def each_of(asked):
    return [one.state() for one in asked]


def mixed():
    first, second = (lanes.apart(tree(i), np.array([3, 1])) for i in (3, 7))
    return [second[1], first[0], second[0], first[1].by_itself(), first[1]]


CALLS = {
    "refill": lambda: lanes.refill(tree(0), tree(5), SOURCE),
    "take one": lambda: lanes.take(tree(3), np.asarray(2, np.int32)),
    "take several": lambda: lanes.take(tree(3), np.array([3, 0], np.int32)),
    "apart": lambda: each_of(lanes.apart(tree(3), np.array([3, 1]))),
    "stack": lambda: lanes.stack(lanes.apart(tree(3), np.array([3, 1, 1]))),
    "stack of several": lambda: lanes.stack(mixed()),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_host_does_what_the_programs_do(name, monkeypatch):
    here = CALLS[name]()
    monkeypatch.setattr(lanes, "in_memory", lambda *trees: False)
    there = CALLS[name]()
    assert jax.tree.structure(here) == jax.tree.structure(there)
    for a, b in zip(numbers(here), numbers(there), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.array_equal(a, b)


def test_what_is_taken_shares_no_memory_with_the_lanes():
    many = {"a": np.arange(8.0).reshape(4, 2)}
    for taken in (lanes.take(many, np.asarray(1, np.int32)), *each_of(lanes.apart(many, np.array([1, 2])))):
        assert not np.shares_memory(taken["a"], many["a"])
    assert not np.shares_memory(lanes.refill(many, many, SOURCE)["a"], many["a"])


def test_what_is_by_itself_keeps_no_other_lane():
    many = {"a": np.arange(8.0).reshape(4, 2)}
    alone = lanes.Lane(many, 2).by_itself()
    assert alone.number is None
    assert alone.lanes["a"].tolist() == [4.0, 5.0]
    assert not np.shares_memory(alone.lanes["a"], many["a"])


def test_what_is_traced_is_not_in_memory():
    x = jnp.ones(3)
    assert trees.in_memory(x, np.ones(2), (1, "name"))
    assert not jax.jit(lambda x: jnp.asarray(trees.in_memory(x)))(x)


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
