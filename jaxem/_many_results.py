"""The results of many fits, put together from the best runs of a search."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jaxem._errors import FitError
from jaxem._solve import Fit, finish
from jaxem._status import Status, status_code, status_from_code
from jaxem.engine.lanes import stack
from jaxem.engine.many import Many
from jaxem.engine.programs import program
from jaxem.engine.search import Search
from jaxem.engine.state import State
from jaxem.record import Restarts


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
            block = jax.tree.map(np.asarray, _finish(problem, stack(tuple(best[i].state for i in numbers))))
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
