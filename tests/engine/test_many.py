"""Problems side by side: lanes in a row that have one problem between them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.engine.lanes import Block
from jaxem.engine.many import Many
from jaxem.engine.pool import Pool, _Group
from jaxem.engine.problem import Problem
from jaxem.kernels.sums import unreduced

FITS, ROWS, RESTARTS = 4, 30, 6
X = jnp.asarray(np.random.default_rng(0).integers(0, 2, (FITS, ROWS, 3)), float)
MODEL = jaxem.Mixture(jaxem.Bernoulli(), 2)


def problems():
    model = MODEL.bind(X[0], jnp.ones(ROWS), unreduced)
    one = Problem.make(model, jaxem.em(), X[0], jnp.ones(ROWS), tol=1e-6, max_steps=50)
    return dataclasses.replace(Many.of(dataclasses.replace(one, data=X), ("data",), RESTARTS), in_a_row=RESTARTS)


@pytest.mark.parametrize("starts", [range(12), range(12, 18), [6, 7, 8, -1, -1, 11], [18, -1, -1, -1, -1, -1]])
def test_starts_in_order_are_those_starts(starts):
    starts = np.asarray([*starts], np.int32)
    many, shift = problems(), jnp.arange(float(len(starts)))

    def call(problem, shift):
        return jnp.sum(problem.data, 0) + shift

    ordered = many.of_starts_in_order(starts)
    assert len(ordered.which) == len(starts) // RESTARTS
    found, each = ordered.each_lane(call, shift), many.of_starts(starts).each_lane(call, shift)
    there = starts >= 0
    assert np.array_equal(found[there], each[there])


@pytest.mark.parametrize(("lanes", "rows"), [(6, 1), (12, 2), (4, 2), (9, 3), (5, 5)])
def test_lanes_that_hold_parts_of_the_starts_of_a_fit(lanes, rows):
    for first in range(0, FITS * RESTARTS, lanes):
        starts = np.minimum(np.arange(first, first + lanes), FITS * RESTARTS - 1).astype(np.int32)
        which = problems().of_starts_in_order(starts).which
        assert len(which) == rows
        assert np.array_equal(np.repeat(which, lanes // rows), starts // RESTARTS)


def test_what_depends_on_rows_alone_is_worked_out_once_for_the_starts_of_a_fit():
    starts = np.arange(12, dtype=np.int32)

    def tables(problem):
        """How many tables are taken out of all."""
        arrays, rest = eqx.partition(problem, eqx.is_array)
        taken = lambda arrays: eqx.combine(arrays, rest).each_lane(lambda problem, _: problem.data, starts)  # noqa: E731
        found = jax.make_jaxpr(taken)(arrays).eqns
        return [eqn.outvars[0].aval.shape[0] for eqn in found if eqn.primitive.name == "gather"]

    many = problems()
    assert tables(many.of_starts(starts)) == [12]
    assert tables(many.of_starts_in_order(starts)) == [2]


def test_lanes_in_a_row_are_filled_once_all_of_them_are_free():
    def blocks(number):
        starts = list(range(6 * number, 6 * number + 6))
        return Block(starts, {"start": np.asarray(starts)}) if number < 2 else None

    group = _Group(Pool(None, 6, 12, None, None, None, in_a_row=3), blocks, {}, threaded=False)
    group.fill()
    assert group.owner.tolist() == [0, 1, 2, 3, 4, 5]
    group.owner[[0, 3, 4, 5]] = -1
    group.fill()
    assert group.owner.tolist() == [-1, 1, 2, 6, 7, 8]
    assert group.lanes["start"].tolist() == [0, 1, 2, 6, 7, 8]
    group.owner[[1, 2]] = -1
    group.fill()
    assert group.owner.tolist() == [9, 10, 11, 6, 7, 8]
