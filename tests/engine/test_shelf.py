"""The programs that a process keeps: few of each kind, and not too many in all."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.engine import programs
from jaxem.engine.kept import Arguments, Kept, Shelf
from jaxem.engine.programs import Program
from tests.helpers.compiling import compilations


def signature(rows, kind="a"):
    return Arguments((kind, np.zeros((rows, 2)))).signature()


def program():
    return Kept(None, ())


@pytest.fixture
def shelf(monkeypatch):
    found = Shelf(shapes=2, total=3)
    monkeypatch.setattr(programs, "_SHELF", found)
    return found


def test_shapes_are_all_that_tells_programs_of_a_kind_apart():
    assert signature(3) == signature(3)
    assert signature(3).kind == signature(4).kind
    assert signature(3) != signature(4)
    assert signature(3).kind != signature(3, "b").kind
    assert Arguments((np.zeros(3, np.float32),)).signature() != Arguments((np.zeros(3),)).signature()


def test_of_each_kind_the_latest_stay(shelf):
    first, second, third = (program() for _ in range(3))
    shelf.keep("owner", signature(1), first)
    shelf.keep("owner", signature(2), second)
    assert shelf.find("owner", signature(1)) is first  # and so it is the later of the two
    shelf.keep("owner", signature(3), third)
    assert shelf.find("owner", signature(2)) is None
    assert shelf.find("owner", signature(1)) is first
    assert shelf.find("other", signature(1)) is None


def test_in_all_the_latest_stay(shelf):
    for kind in "abcd":
        shelf.keep("owner", signature(1, kind), program())
    assert [shelf.find("owner", signature(1, kind)) is None for kind in "abcd"] == [True, False, False, False]


def test_a_program_that_was_dropped_is_freed_and_compiled_again(shelf):
    double = Program(lambda x: 2 * x)
    counts = [compilations(lambda n=n: double(np.ones(n)))[1] for n in (3, 4, 3, 5, 3, 4)]
    assert counts == [1, 1, 0, 1, 0, 1]
    freed = weakref.ref(shelf.find((double, None), Arguments((np.ones(3),)).signature()))
    for n in (6, 7):
        double(np.ones(n))
    gc.collect()
    assert freed() is None
    np.testing.assert_array_equal(double(np.ones(3)), 2 * np.ones(3))


@pytest.mark.slow
def test_many_tables_of_different_lengths_leave_few_programs(monkeypatch):
    found = Shelf()
    monkeypatch.setattr(programs, "_SHELF", found)
    x = jaxem.datasets.old_faithful().data
    sizes = []
    for n in (17, 33, 49, 65, 81, 97, 129, 161):  # each another size of table
        jaxem.fit(jaxem.GaussianMixture(2), x[:n], key=jax.random.key(0), max_steps=2)
        sizes.append(len(found))
    assert sizes[-1] == sizes[3]


def test_a_program_under_a_trace_is_part_of_it():
    double = Program(lambda x: 2 * x)
    np.testing.assert_array_equal(jax.jit(lambda x: double(x) + 1)(jnp.ones(3)), 3 * np.ones(3))
    np.testing.assert_array_equal(jax.vmap(double)(jnp.ones((2, 3))), 2 * np.ones((2, 3)))
    assert jax.grad(lambda x: double(x).sum())(jnp.ones(3)).tolist() == [2.0] * 3
