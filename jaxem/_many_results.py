"""How the runs of `fit_many` go side by side, and their results put together."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import rows_per_chunk
from jaxem._errors import FitError
from jaxem._fit import start_shapes
from jaxem._solve import Fit, finish
from jaxem._status import Status, status_code, status_from_code
from jaxem.engine.lane import stack
from jaxem.engine.lanes import FEW_PRODUCTS, Layout, layout_of
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.programs import program
from jaxem.engine.runner import AtHand
from jaxem.engine.search import Search
from jaxem.engine.state import State
from jaxem.kernels.chunks import chunk_rows_apart
from jaxem.kernels.devices import sizes
from jaxem.record import Restarts

_MOST_NUMBERS = 2**24  # of the rows of the lanes of a group
_FEWEST = 8  # lanes that go side by side even if their tables do not stay in a cache
_TURNS = 6  # of a lane, at least: fewer, and most lanes idle while the slowest fits end


def in_lanes(
    problem: Many,
    first: Problem,
    key: PRNGKeyArray,
    fits: int,
    restarts: int,
    lanes: int | None,
    apart: bool,
    place: Any,
    racing: bool,
) -> tuple[Many, Layout, AtHand]:
    """The problems with their chunks sized for the runs that go side by side, `apart` on data of their own.

    And what advances them: by longer rounds where steps take less time than looking at what they did.
    """
    shapes, n = start_shapes(first.model, key, first.data, first.weights), problem.num_rows
    layout = layout_of(first, shapes, n, fits * restarts, lanes, place, _TURNS)
    floats, expanded = first.model.floats_per_row(shapes), first.model.expanded_per_row(shapes)
    if not apart:
        model = first.model.for_lanes(layout.lanes)
        problem = problem.for_lanes(layout.lanes).in_chunks(rows_per_chunk(model, shapes, n, layout.lanes))
    else:
        if lanes is None and (place is None or place.layout is None):
            layout = layout._replace(lanes=min(layout.lanes, _lanes_apart(first.data)))
        if place is None:  # else a search may go on with any starts
            # A race takes all starts of a fit side by side; else few numbers, so that few programs are compiled.
            row = restarts if racing else math.gcd(layout.lanes, restarts)
            problem = dataclasses.replace(problem, in_a_row=row)
        problem = problem.in_chunks(chunk_rows_apart(n, layout.lanes, floats, expanded))
    short = n * floats * layout.lanes < FEW_PRODUCTS
    return problem, layout, AtHand(many=sizes().long_round if short else None)


def _lanes_apart(data: PyTree) -> int:
    """How many lanes with such tables of their own go side by side: as many as stay in a cache, or a few."""
    leaves = jax.tree.leaves(data)
    near = sizes().apart // sum(leaf.nbytes for leaf in leaves)
    few = min(_FEWEST, _MOST_NUMBERS // sum(leaf.size for leaf in leaves))
    return max(2 ** near.bit_length() // 2, few, 1)


@program(quickly=True)
def _finish(problem: Many, lanes: State) -> Fit:
    return problem.each_lane(finish, lanes)


def collected(search: Search, lanes: int) -> Fit:
    """The best runs of all fits with a leading axis, put together on the host."""
    best = {i: one for i, one in enumerate(search.best) if one}
    if not best:
        raise FitError("stopped before any start was run")
    fits: dict[int, Fit] = {}
    for accurate in (False, True):
        own = [i for i, one in best.items() if one.accurate is accurate]
        for at in range(0, len(own), lanes):
            numbers = np.resize(own[at : at + lanes], lanes)
            problem = search.problem_of(best[numbers[0]]).of_starts(numbers * search.each)
            block = jax.tree.map(np.asarray, _finish(problem, stack([best[i].outcome.lane for i in numbers])))
            for lane, i in enumerate(own[at : at + lanes]):
                fits[i] = jax.tree.map(lambda leaf: leaf[lane], block)  # noqa: B023
    nothing = _never_begun(next(iter(fits.values())))
    count = len(search.best)
    fit = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *(fits.get(i, nothing) for i in range(count)))
    histories = {i: np.concatenate(one.outcome.history) for i, one in best.items()}
    history = np.full((count, max(map(len, histories.values()))), np.nan, fit.objective.dtype)
    for i, values in histories.items():
        history[i, : len(values)] = values

    def by_fit(values: np.ndarray, dtype: Any) -> Array:
        return jax.device_put(values.reshape(count, -1).astype(dtype))

    codes = search.told(search.code)
    record = Restarts(
        by_fit(search.objective, fit.objective.dtype),
        status_from_code(by_fit(codes, np.int32)),
        by_fit(search.num_steps, np.int32),
    )
    # A fit is over once all its starts are.
    stopped = (codes.reshape(count, -1) == int(status_code(Status.stopped))).any(1)
    status = np.where(stopped, int(status_code(Status.stopped)), np.asarray(status_code(fit.status)))
    status = status_from_code(jax.device_put(status.astype(np.int32)))
    return dataclasses.replace(fit, status=status, history=jax.device_put(history), restarts=record)


def _never_begun(like: Fit) -> Fit:
    """In the place of a fit that was never begun."""

    def blank(leaf: np.ndarray) -> np.ndarray:
        return np.full_like(leaf, np.nan if np.issubdtype(leaf.dtype, np.inexact) else 0)

    return jax.tree.map(blank, like)
