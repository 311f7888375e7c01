"""Stepwise EM over batches: an update for each, in a run that can stop and go on."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_starts
from jaxem._batches import Reader
from jaxem._bound import AbstractBound
from jaxem._errors import DataError
from jaxem._fit import fit, start_shapes
from jaxem._model import AbstractModel
from jaxem._solve import Fit, finish
from jaxem._status import Status, status_name
from jaxem.engine.checkpoint import Part, Snapshot, part_of
from jaxem.engine.fingerprint import contents
from jaxem.engine.loop import enter, require_modes, resume, step
from jaxem.engine.problem import Problem
from jaxem.engine.snapshot import pack, unpack
from jaxem.engine.state import State, begin
from jaxem.engine.stop import Stop
from jaxem.init import AbstractInit
from jaxem.kernels.sums import unreduced
from jaxem.record import Average, StreamProgress
from jaxem.termination import FixedSteps

_START_STEPS = 10  # EM iterations on the first batch before its starts are compared
_UNKNOWN = 2**31 - 2


class StepwiseOptions(NamedTuple):
    """How many passes a run makes, the weight of all rows, whether a last pass scores, and from how many starts."""

    passes: int
    total_weight: float | None
    score: bool
    restarts: int


def fit_stepwise(
    model: AbstractModel,
    reader: Reader,
    algorithm: Algorithm,
    key: PRNGKeyArray,
    init: Any,
    options: StepwiseOptions,
    report: Callable[[StreamProgress], Any] | None,
    stop: Stop,
    checkpoint: Any,
) -> Fit:
    """The run over all batches, or over those that came before it was to stop."""
    total = reader.total_weight if options.total_weight is None else float(options.total_weight)
    if total is not None and not (np.isfinite(total) and total > 0):
        raise DataError(f"total_weight must be finite and positive, got {total}")
    if isinstance(algorithm.record, Average) and not len(reader):
        raise DataError("averaging needs to know how many batches there are: give a list, or jaxem.batches(...)")
    asked = {"model": model, "init": init, "key": key, "algorithm": algorithm, **options._asdict()}
    stream = _Stream(reader, options.passes, part_of(checkpoint, "fit_stream", asked))
    start_key, run_key = jax.random.split(key)
    run: Any = None
    ending = False
    with stop.interruptible():
        for number, x, w in stream:
            if run is None:
                start = stream.start(model, start_key, x, w)
                start = _start(model, init, x, w, start_key, options.restarts) if start is None else start
                steps = options.passes * len(reader) if isinstance(algorithm.record, Average) else _UNKNOWN
                run = _Run(model, algorithm, start, x, w, total, steps, run_key)
                stream.go_on(run)
            if stream.known:
                run.last = x, w
                continue
            if run.num_fed and not run.going():
                break
            run.feed(x, w)
            if report and report(stream.told(number, float(run.state.iterate.objective))) is True:
                stop.asked = True
            ending = stop.now
            stream.write(run, ending)
            if ending:
                break
    if run is None:
        raise DataError("batches holds no rows")
    stopped = ending and run.going()
    if not stopped:
        stream.write(run, True)
    found = run.result(reader.read(options.passes) if options.score and not stopped else None)
    return dataclasses.replace(found, status=Status.stopped) if stopped else found


class _Stream:
    """The batches of all passes on the device, how many have come, and where the run over them is written down.

    Of those that a run which goes on has seen, the first and the last.
    """

    def __init__(self, reader: Reader, passes: int, place: Part | None):
        self.reader, self.passes, self.place = reader, passes, place
        self.saved = None if place is None else place.saved
        self.seen = self.rows = 0
        self.digest = ""
        self.ahead = 0 if self.saved is None else int(self.saved.header["seen"])

    @property
    def known(self) -> bool:
        """Whether the run that goes on has seen the batch at hand."""
        return self.seen <= self.ahead

    def __iter__(self) -> Any:
        for number in range(self.passes):
            for *batch, count in self.reader.read(number):
                self.seen, self.rows = self.seen + 1, self.rows + count
                if self.place is not None:
                    self.digest = contents(self.digest, batch[0], batch[1])
                if self.saved is not None and self.seen == self.ahead and self.digest != self.saved.header["digest"]:
                    raise DataError(
                        f"checkpoint: the first {self.seen} batches are not those that the file was written for: "
                        "remove it, or give another path"
                    )
                if 1 < self.seen < self.ahead:
                    continue  # neither what the run began with nor what it looked at last
                x, w = jax.tree.map(jnp.array, batch)  # copies: a reader may fill one buffer again and again
                yield number, x, w
        if self.seen < self.ahead:
            raise DataError(f"checkpoint: the file was written after {self.ahead} batches, and there are {self.seen}")

    def told(self, number: int, objective: float) -> StreamProgress:
        return StreamProgress(number, self.seen, self.rows, objective)

    def start(self, model: AbstractModel, key: PRNGKeyArray, x: PyTree, w: Any) -> PyTree:
        """Where the run that goes on had started."""
        if self.saved is None:
            return None
        return unpack(self.saved.arrays, "start", start_shapes(model, key, x, w), key)

    def go_on(self, run: "_Run") -> None:
        """Make a new run what it was when it was written down."""
        if self.saved is None:
            return
        header, arrays = self.saved
        if header["accurate"]:
            run.to_accurate()
        run.state = unpack(arrays, "state", run.state, run.key)
        run.history = list(jnp.array(arrays["history"]))
        run.num_fed = self.ahead

    def write(self, run: "_Run", now: bool) -> None:
        """Write the run down if it is time."""
        if self.place is None or not (now or self.place.due(self.seen)):
            return
        arrays = {"history": np.asarray(jnp.stack(run.history))}
        pack(arrays, "state", run.state)
        pack(arrays, "start", run.start)
        header = {"seen": self.seen, "digest": self.digest, "accurate": run.accurate}
        self.place.write(Snapshot(header, arrays), self.seen)


class _Run:
    """The state between batches. It is looked at once the next batch is there, so that reading overlaps computing."""

    def __init__(
        self,
        model: AbstractModel,
        algorithm: Algorithm,
        start: PyTree,
        x: PyTree,
        w: Any,
        total: float | None,
        steps: int,
        key: PRNGKeyArray,
    ):
        dtype, self.algorithm, self.start, self.key = w.dtype, algorithm, start, key
        self.num_fed, self.accurate = 0, False
        self.total = jnp.asarray(jnp.sum(w) if total is None else total, dtype)
        self.model, self.state = _begin(model, algorithm, start, x, w, self.total, key)
        require_modes(model, algorithm, lambda: step(_problem(self.model, algorithm, x, w, self.total, 1), self.state))
        if total is None and float(self.model.log_prior(self.state.iterate.params)) != 0:
            raise DataError("the model has a prior, which is set against the weight of all rows: pass total_weight")
        self.limit, self.last = jnp.asarray(steps, jnp.int32), (x, w)
        self.history: list[Any] = []

    def feed(self, x: PyTree, w: Any, limit: Any = None) -> None:
        self.last, limit = (x, w), self.limit if limit is None else limit
        self.num_fed += 1
        self.state = _advance(self.model, self.algorithm, self.state, *self.last, self.total, limit)
        self.history.append(self.state.iterate.objective)

    def going(self) -> bool:
        """Whether the run can go on; on the accurate kernel where the other one lost too many digits."""
        name = status_name(self.state.status)
        if name == "inaccurate" and self.model.accurate() is not None:
            del self.history[int(self.state.num_steps) :]
            self.to_accurate()
            self.feed(*self.last)
            return self.going()
        return name == "running"

    def to_accurate(self) -> None:
        """Go on on the accurate kernel."""
        self.model: Any = self.model.accurate()
        self.accurate = True
        self.state = _resume(self.model, self.algorithm, self.state, *self.last, self.total)

    def result(self, rows: Any) -> Fit:
        """The M-step of the last batch, and what can be said of it."""
        while self.going():
            self.feed(*self.last, self.state.num_steps + 1)
        x, w = self.last
        found = _finish(self.model, self.algorithm, self.state, x, jnp.zeros_like(w))
        prior, log_likelihood, objective = float(found.objective), np.nan, np.nan
        if rows is not None:
            log_likelihood, objective = 0.0, prior
            for x, w, _ in rows:
                part = _finish(self.model, self.algorithm, self.state, x, w)
                log_likelihood += float(part.log_likelihood)
                objective += float(part.objective) - prior
        dtype = found.objective.dtype
        return dataclasses.replace(
            found,
            log_likelihood=jnp.asarray(log_likelihood, dtype),
            objective=jnp.asarray(objective, dtype),
            history=jnp.stack(self.history[: int(found.num_steps) + 1]),
        )


def _problem(model: AbstractBound, algorithm: Algorithm, x: PyTree, w: Array, total: Array, limit: Any) -> Problem:
    """The batch as if it were the whole: weights that sum to `total`, so that its statistics are on that scale."""
    seen = jnp.sum(w)
    w = w * jnp.where(seen > 0, total / jnp.where(seen > 0, seen, 1), 0)
    return Problem.make(model, algorithm, x, w, tol=0.0, max_steps=limit, termination=FixedSteps())


@eqx.filter_jit
def _begin(
    model: AbstractModel, algorithm: Algorithm, params: PyTree, x: PyTree, w: Array, total: Array, key: PRNGKeyArray
) -> tuple[AbstractBound, State]:
    lifted = algorithm.m_step.lift(model)
    bound: Any = lifted.bind(x, w, unreduced)
    start = enter(bound, params, x, w, lifted is not model)
    return bound, begin(_problem(bound, algorithm, x, w, total, 0), start, key)


@eqx.filter_jit
def _resume(model: AbstractBound, algorithm: Algorithm, state: State, x: PyTree, w: Array, total: Array) -> State:
    return resume(_problem(model, algorithm, x, w, total, 0), state)


@eqx.filter_jit
def _advance(
    model: AbstractBound, algorithm: Algorithm, state: State, x: PyTree, w: Array, total: Array, limit: Array
) -> State:
    return step(_problem(model, algorithm, x, w, total, limit), state)


@eqx.filter_jit
def _finish(model: AbstractBound, algorithm: Algorithm, state: State, x: PyTree, w: Array) -> Fit:
    return finish(Problem.make(model, algorithm, x, w, tol=0.0, max_steps=0, termination=FixedSteps()), state)


def _start(model: AbstractModel, init: Any, x: PyTree, w: Any, key: PRNGKeyArray, restarts: int) -> PyTree:
    if init is None or isinstance(init, str | AbstractInit):
        options: dict[str, Any] = {
            "restarts": restarts,
            "init": init,
            "max_steps": _START_STEPS,
            "time_limit": Stop.never(),
        }
        return fit(model, x, key=key, weights=w, **options).params
    data, weights = jax.tree.map(jnp.asarray, (x, w))
    starts, count = as_starts(init, start_shapes(model, key, data, weights), model, w.dtype)
    if count != 1:
        raise DataError(f"init holds {count} sets of parameters; a stream is fitted from one")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), starts)
