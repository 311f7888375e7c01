"""How many of the runs of `fit_many` go side by side, and how long they go before the host looks at them."""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from jaxem._bound import rows_per_chunk
from jaxem._fit import start_shapes
from jaxem.engine.lanes import FEW_PRODUCTS, Layout, layout_of
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.runner import AtHand
from jaxem.kernels.chunks import chunk_rows_apart
from jaxem.kernels.devices import sizes

_MOST_NUMBERS = 2**24  # of the rows of the lanes of a group
_TURNS = 6  # of a lane, at least: fewer, and most lanes idle while the slowest fits end


def in_lanes(
    problem: Many, first: Problem, key: PRNGKeyArray, total: int, lanes: int | None, apart: bool, place: Any
) -> tuple[Many, Layout, AtHand]:
    """The problems with their chunks sized for the runs that go side by side, `apart` on data of their own.

    And what advances them: by longer rounds where steps take less time than looking at what they did.
    """
    shapes, n = start_shapes(first.model, key, first.data, first.weights), problem.num_rows
    layout = layout_of(first, shapes, n, total, lanes, place, _TURNS)
    floats, expanded = first.model.floats_per_row(shapes), first.model.expanded_per_row(shapes)
    if not apart:
        model = first.model.for_lanes(layout.lanes)
        problem = problem.for_lanes(layout.lanes).in_chunks(rows_per_chunk(model, shapes, n, layout.lanes))
    else:
        numbers = sum(leaf.size for leaf in jax.tree.leaves(first.data))
        if lanes is None and (place is None or place.layout is None):
            layout = layout._replace(lanes=max(min(layout.lanes, _MOST_NUMBERS // numbers), 1))
        problem = problem.in_chunks(chunk_rows_apart(n, layout.lanes, floats, expanded))
    short = n * floats * layout.lanes < FEW_PRODUCTS
    return problem, layout, AtHand(round_steps=sizes().long_round if short else None)
