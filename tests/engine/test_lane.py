"""Lanes that are filled, taken and stacked: on the host the arrays of the programs, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.engine import lane, trees

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
    first, second = (lane.apart(tree(i), np.array([3, 1])) for i in (3, 7))
    return [second[1], first[0], second[0], first[1].by_itself(), first[1]]


CALLS = {
    "refill": lambda: lane.refill(tree(0), tree(5), SOURCE),
    "take one": lambda: lane.take(tree(3), np.asarray(2, np.int32)),
    "take several": lambda: lane.take(tree(3), np.array([3, 0], np.int32)),
    "apart": lambda: each_of(lane.apart(tree(3), np.array([3, 1]))),
    "stack": lambda: lane.stack(lane.apart(tree(3), np.array([3, 1, 1]))),
    "stack of several": lambda: lane.stack(mixed()),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_host_does_what_the_programs_do(name, monkeypatch):
    here = CALLS[name]()
    monkeypatch.setattr(lane, "in_memory", lambda *trees: False)
    there = CALLS[name]()
    assert jax.tree.structure(here) == jax.tree.structure(there)
    for a, b in zip(numbers(here), numbers(there), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.array_equal(a, b)


def test_what_is_taken_shares_no_memory_with_the_lanes():
    many = {"a": np.arange(8.0).reshape(4, 2)}
    for taken in (lane.take(many, np.asarray(1, np.int32)), *each_of(lane.apart(many, np.array([1, 2])))):
        assert not np.shares_memory(taken["a"], many["a"])
    assert not np.shares_memory(lane.refill(many, many, SOURCE)["a"], many["a"])


def test_what_is_by_itself_keeps_no_other_lane():
    many = {"a": np.arange(8.0).reshape(4, 2)}
    alone = lane.Lane(many, 2).by_itself()
    assert alone.number is None
    assert alone.lanes["a"].tolist() == [4.0, 5.0]
    assert not np.shares_memory(alone.lanes["a"], many["a"])


def test_what_is_set_aside_keeps_those_alone_that_ended_with_it():
    for one in lane.apart(tree(3), np.array([3, 1])):
        assert one.set_aside() is one
    assert lane.Lane(tree(3), 2).set_aside().number is None


def test_what_is_traced_is_not_in_memory():
    x = jnp.ones(3)
    assert trees.in_memory(x, np.ones(2), (1, "name"))
    assert not jax.jit(lambda x: jnp.asarray(trees.in_memory(x)))(x)
