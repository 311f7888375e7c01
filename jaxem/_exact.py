"""Exact runs over batches: every iteration is a pass over all rows, for all starts at once."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_starts
from jaxem._batches import Reader
from jaxem._bound import rows_per_chunk
from jaxem._errors import DataError, MissingCapabilityError
from jaxem._exact_batches import ExactBatches
from jaxem._fit import draw, encode, init_of, require_different_starts, start_shapes, with_method
from jaxem._model import AbstractModel
from jaxem.engine.buckets import FITTED, filled
from jaxem.engine.checkpoint import part_of
from jaxem.engine.lanes import Layout
from jaxem.engine.loop import require_modes, step
from jaxem.engine.over_passes import OverBatches, OverPasses, bound, lifted
from jaxem.engine.passes import Passes
from jaxem.engine.problem import Problem
from jaxem.engine.search import Search
from jaxem.engine.state import State, begin
from jaxem.engine.stop import Stop
from jaxem.m_step import Draw
from jaxem.record import StreamProgress
from jaxem.sources import seed_of
from jaxem.termination import AbstractTermination, default_tolerance
from jaxem.update import Incremental
from jaxem.update.incremental import IncrementalOverBatches


def require_exact(algorithm: Algorithm) -> None:
    """Raise `MissingCapabilityError` for an algorithm that draws random numbers for rows."""
    which = algorithm.e_step if algorithm.e_step.needs == "sample" else algorithm.m_step
    if algorithm.e_step.needs == "sample" or isinstance(which, Draw):
        raise MissingCapabilityError(
            f"{type(which).__name__} draws random numbers, and exact passes are made of what is exact; use jaxem.em(), "
            "or jaxem.e_step.Sample() with jaxem.update.Stepwise()"
        )


def fit_exactly(
    model: AbstractModel,
    reader: Reader,
    algorithm: Algorithm,
    key: PRNGKeyArray,
    init: Any,
    restarts: int,
    tol: float | None,
    max_steps: int,
    termination: AbstractTermination | None,
    report: Callable[[StreamProgress], Any] | None,
    stop: Stop,
    checkpoint: Any,
    together: bool,
) -> Search:
    """The search over all starts, each of which has been run to its end, unless it was to `stop` before."""
    asked = {"model": model, "init": init, "key": key, "algorithm": algorithm, "termination": termination}
    asked |= {"restarts": restarts, "tol": tol, "max_steps": max_steps}
    model, init = with_method(model, init)
    progress = _Reports(report, stop)
    seed = [*(seed_of(key) or ()), _SAMPLE]
    in_turn = isinstance(algorithm.update, Incremental)
    rows = ExactBatches(reader, seed, progress.after_batch, checkpoint is not None, together, in_turn)
    passes, raised = Passes(rows.read, rows.row, rows.after, together), algorithm.m_step.lift(model)
    problem = bound(passes, raised, algorithm, termination)
    tol = default_tolerance(rows.dtype) if tol is None else tol
    limits = {"tol": jnp.asarray(tol, rows.dtype), "max_steps": jnp.asarray(max_steps, jnp.int32)}
    problem = dataclasses.replace(problem, **limits)
    if in_turn:
        update = IncrementalOverBatches(rows.batches)
        problem = dataclasses.replace(problem, algorithm=dataclasses.replace(algorithm, update=update))

    data, weights = _on_device(*rows.sampled.rows(), fill=not algorithm.draws)
    sample = dataclasses.replace(problem, model=problem.model.plain or problem.model, data=data, weights=weights)
    if init is None:
        require_different_starts(model, algorithm, restarts)
        drawing: Any = partial(draw, sample, key)
    else:
        starts, count = as_starts(init, start_shapes(model, key, data, weights), model, rows.dtype)
        if restarts not in (1, count):
            raise DataError(f"restarts={restarts}, but init holds {count} sets of parameters; leave restarts out")
        restarts, drawing = count, partial(encode, sample, key, starts, False)

    shapes = start_shapes(problem.model, key, data, weights)
    problem = _in_lanes(problem, shapes, reader.rows, restarts)
    require_modes(
        raised, algorithm, lambda: step(sample, begin(sample, init_of(sample.model, key, data, weights), key))
    )

    def drawn(numbers: np.ndarray) -> tuple[PyTree, Array]:
        params, keys = drawing(numbers)
        return (lifted(passes, problem, params) if raised is not model else params), keys

    runner: Any = OverPasses(passes, reader.rows, rows.all_rows, progress.after_step)
    runner = OverBatches(runner, rows.batches) if in_turn else runner
    place = part_of(checkpoint, "fit_stream", {**asked, "data": (rows.digest,)}, together)
    search = Search(problem, Layout(restarts), restarts, None, stop=stop, place=place, runner=runner)
    with stop.interruptible():
        search.run(drawn, key)
    return search


_SAMPLE = 1  # sets the sample apart from what else is drawn with the key


def _on_device(data: PyTree, weights: np.ndarray, fill: bool) -> tuple[PyTree, Array]:
    """The sample, filled up as `jaxem.fit` fills up a table, so that starts of a small one are those that it draws."""
    found = filled(data, weights, weights.dtype, FITTED) if fill else None
    return jax.device_put((data, weights) if found is None else (found.data, found.weights))


def _in_lanes(problem: Problem, shapes: PyTree, rows: int, lanes: int) -> Problem:
    """The problem with its model and the chunks of a batch for so many runs side by side."""
    model = problem.model.for_lanes(lanes)
    return dataclasses.replace(problem, model=model, chunk_rows=rows_per_chunk(model, shapes, rows, lanes))


class _Reports:
    """Tells of every batch, with the best objective of the last pass."""

    def __init__(self, report: Callable[[StreamProgress], Any] | None, stop: Stop):
        self.report, self.stop, self.batches, self.rows = report, stop, 0, 0
        self.lanes: State | None = None

    def after_batch(self, number: int, rows: int) -> None:
        self.batches, self.rows = self.batches + 1, self.rows + rows
        if self.report:
            best = np.nan if self.lanes is None else float(np.max(self.lanes.iterate.objective))
            if self.report(StreamProgress(number, self.batches, self.rows, best)) is True:
                self.stop.asked = True

    def after_step(self, lanes: State) -> None:
        self.lanes = lanes
