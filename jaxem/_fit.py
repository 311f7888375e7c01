"""`fit`: the host entry."""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._check import as_data, as_starts, as_weights
from jaxem._errors import DataError, FitError
from jaxem._loop import Problem, State, on_accurate_kernel
from jaxem._model import AbstractModel
from jaxem._restarts import Outcome, Pool, Progress, Racing, fresh_blocks, saved_blocks
from jaxem._solve import Fit, Restarts, finish
from jaxem._status import Status, status_code, status_from_code, status_name
from jaxem.init import METHODS, AbstractInit
from jaxem.kernels.chunks import chunk_rows, num_rows
from jaxem.models import Labelled
from jaxem.termination import AbstractTermination

_ROUND_STEPS = 8
_CPU_LANES = 32
_DEVICE_LANES = 1024
_LANE_FLOATS = 2**26  # numbers that the starts of one block may take while they are drawn


def fit(
    model: AbstractModel,
    data: Any,
    *,
    key: PRNGKeyArray,
    restarts: int = 1,
    init: Any = None,
    algorithm: Algorithm | None = None,
    weights: Any = None,
    labels: Any = None,
    tol: float = 1e-6,
    max_steps: int = 1000,
    termination: AbstractTermination | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    batch_size: int | None = None,
    racing: Racing | None = None,
    throw: bool = True,
) -> Fit:
    """Fits a model from one or many starts and returns the best.

    Checks the data, draws the starts on the device, and runs them side by side in lanes of one compiled program that
    are refilled as they finish. Another call with the same shapes compiles nothing, whatever `tol`, `max_steps` and
    `key`. Where single precision loses too many digits the runs concerned go on with slower, accurate statistics.

    **Arguments:**

    - `model`: a model, such as `jaxem.GaussianMixture(3)`.
    - `data`: a table `[n, d]` (NumPy, JAX, or anything that NumPy converts), or what the model takes. Integers are
        converted to floats; float64 is computed in only if `jax_enable_x64` is set (a `PrecisionWarning` says so).
    - `key`: a JAX random key. The same key gives the same answer, at any batch size.
    - `restarts`: how many starts.
    - `init`: parameters (one set, or a stack of them along a leading axis), an `AbstractInit`, or the name of a
        method: `"kmeans++"` (the default for mixtures), `"points"`, `"random"`, `"short_runs"`.
    - `algorithm`: a variant of EM (`jaxem.em()` by default).
    - `weights`: a weight for each row, `[n]`; weight `k` is the same as `k` copies.
    - `labels`: integers `[n]`: the component of the rows where it is known, -1 where it is not.
    - `tol`: tolerance of the termination: by default the gain in objective per unit of weight, in nats.
    - `max_steps`: the most iterations of a run.
    - `termination`: see `jaxem.termination`.
    - `progress`: called with a `jaxem.Progress` after every round; `True` prints a line to standard error.
    - `batch_size`: lanes that run at once; chosen by device and size.
    - `racing`: a `jaxem.Racing`, to stop starts early that are behind.
    - `throw`: raise `FitError` if every start failed; otherwise the result says so in its status.

    **Returns:** a `Fit`. Among starts with the same outcome the highest objective wins (the earlier start, within
    rounding); converged runs go before degenerate ones, whatever their objective.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used; `FitError`.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> fit = jaxem.fit(jaxem.GaussianMixture(2), x, key=jax.random.key(0), restarts=16)
    >>> jaxem.status_name(fit.status), fit.params.components.mean.shape
    ('converged', (2, 2))
    """
    restarts = _positive("restarts", restarts)
    max_steps = _positive("max_steps", max_steps, least=0)
    if math.isnan(tol):
        raise DataError("tol is not a number")
    converted = as_data(data)
    n, dtype = num_rows(converted), jnp.dtype(jax.tree.leaves(converted)[0].dtype)
    given = as_weights(weights, n, dtype)
    if labels is not None:
        converted = Labelled(converted, np.asarray(labels))  # pyright: ignore[reportArgumentType]
    model.check(jax.tree.map(np.asarray, converted), given)
    if labels is not None:
        converted = converted._replace(labels=converted.labels.astype(np.int32))
    device_data = jax.tree.map(jnp.asarray, converted)
    w = jnp.ones(n, dtype) if given is None else jnp.asarray(given)

    if isinstance(init, str):
        if init not in METHODS:
            raise DataError(f"init: no method {init!r}; choose from {', '.join(METHODS)}, or pass parameters")
        init = METHODS[init]
    if isinstance(init, AbstractInit):
        model, init = dataclasses.replace(model, start=init), None  # pyright: ignore[reportCallIssue]
    shapes = eqx.filter_eval_shape(_init, model, key, device_data, w)
    starts = None
    if init is not None:
        starts, count = as_starts(init, shapes, dtype)
        if restarts not in (1, count):
            raise DataError(f"restarts={restarts}, but init holds {count} sets of parameters; leave restarts out")
        restarts = count

    size = _lanes(model, shapes, n, restarts, batch_size)
    problem = _problem(model, algorithm or Algorithm(), termination, device_data, w, _rows(model, shapes, n, size))
    problem = _limits(problem, tol, max_steps)
    draw = _drawer(problem, key, starts)
    search = _Search(problem, size, restarts, progress)
    if racing is None:
        search.run(fresh_blocks(problem, draw, restarts, size, _ROUND_STEPS + 1))
    else:
        search.race(racing, fresh_blocks(problem, draw, restarts, size, _ROUND_STEPS + 1))
    return search.result(throw)


class _Search:
    """Keeps the best run and a record of all."""

    def __init__(self, problem: Problem, size: int, total: int, progress: Any):
        self.problem, self.size, self.total = problem, size, total
        self.report = _printer() if progress is True else progress
        self.objective = np.full(total, np.nan)
        self.code = np.full(total, int(status_code(Status.running)))
        self.num_steps = np.zeros(total, np.int64)
        self.best: Outcome | None = None
        self.best_state: State | None = None
        self.best_problem = problem
        self.histories: dict[int, list[np.ndarray]] = {}
        self.done = self.rounds = self.steps = 0

    def run(self, blocks: Any, problem: Problem | None = None) -> None:
        """Every start to its end; those that lack accuracy once more, on the accurate kernel."""
        problem = problem or self.problem
        slower, aside = problem.model.accurate() is not None, []
        for outcome in self.pool(problem).run(blocks, self.histories):
            if slower and outcome.code == _INACCURATE:
                self.histories[outcome.start] = outcome.history
                aside.append((outcome.start, outcome.state()))
            else:
                self.record(outcome, problem)
        if aside:
            accurate: Any = _on_accurate_kernel(problem)
            size = min(self.size, len(aside))
            rows = _rows(accurate.model, aside[0][1].params, num_rows(problem.data), size)
            accurate = dataclasses.replace(accurate, rows=rows)
            blocks = saved_blocks(accurate, aside, size)
            for outcome in self.pool(accurate, size).run(blocks, self.histories):
                self.record(outcome, accurate)

    def race(self, racing: Racing, blocks: Any) -> None:
        """Successive halving, then the finalists to the end."""
        most, steps = self.problem.max_steps, racing.steps
        left = self.total
        while left > racing.finalists:
            stage = eqx.tree_at(lambda p: p.max_steps, self.problem, jnp.minimum(most, steps))
            held = []
            for outcome in self.pool(stage).run(blocks, self.histories):
                undecided = outcome.code in _UNDECIDED and outcome.num_steps < int(most)
                if (undecided and outcome.num_steps >= int(stage.max_steps)) or outcome.code == _INACCURATE:
                    self.histories[outcome.start] = outcome.history
                    held.append((outcome, outcome.state()))
                else:
                    self.record(outcome, self.problem)
            held.sort(key=lambda pair: (-pair[0].objective, pair[0].start))
            keep = max(math.ceil(racing.keep * left), 1)
            for outcome, _ in held[keep:]:
                self.histories.pop(outcome.start)
                self.note(outcome.start, int(status_code(Status.eliminated)), outcome.objective, outcome.num_steps)
            going = [
                (outcome.start, state if outcome.code == _INACCURATE else state._replace(status=_running(state)))
                for outcome, state in held[:keep]
            ]
            left, steps = len(going), steps * racing.growth
            blocks = saved_blocks(None, going, self.size)
            if not going:
                return
        self.run(blocks)

    def pool(self, problem: Problem, size: int | None = None) -> Pool:
        return Pool(problem, size or self.size, _ROUND_STEPS, self.after_round)

    def after_round(self, running: int, steps: int) -> None:
        self.rounds, self.steps = self.rounds + 1, self.steps + steps
        if self.report:
            best = self.best.objective if self.best else -math.inf
            self.report(Progress(self.done, self.total, running, self.rounds, self.steps, best))

    def note(self, start: int, code: int, objective: float, num_steps: int) -> None:
        self.code[start], self.objective[start], self.num_steps[start] = code, objective, num_steps
        self.done += 1

    def record(self, outcome: Outcome, problem: Problem) -> None:
        self.note(outcome.start, outcome.code, outcome.objective, outcome.num_steps)
        if self.best is None or _better(outcome, self.best, problem.weights.dtype):
            self.best, self.best_state, self.best_problem = outcome, outcome.state(), problem

    def result(self, throw: bool) -> Fit:
        assert self.best is not None
        assert self.best_state is not None
        if self.report:
            self.report(Progress(self.done, self.total, 0, self.rounds, self.steps, self.best.objective))
        failed = (int(status_code(Status.not_finite)), _INACCURATE)
        if throw and np.isin(self.code, failed).all():
            reasons = {
                name: int(np.sum(np.asarray(status_name(status_from_code(self.code))) == name)) for name in _NAMES
            }
            counts = ", ".join(f"{count} {name}" for name, count in reasons.items() if count)
            raise FitError(
                f"all {self.total} starts failed ({counts}): {Status[self.best_state.status]}; "
                "pass throw=False to look at what there is"
            )
        fit = _finish(self.best_problem, self.best_state)
        dtype = fit.objective.dtype
        history = np.concatenate(self.best.history) if self.best.history else np.zeros(0)
        code = jnp.asarray(self.code, jnp.int32)
        record = Restarts(
            jnp.asarray(self.objective, dtype), status_from_code(code), jnp.asarray(self.num_steps, jnp.int32)
        )
        return dataclasses.replace(fit, history=jnp.asarray(history, dtype), restarts=record)


_INACCURATE = int(status_code(Status.inaccurate))
_UNDECIDED = (int(status_code(Status.max_steps_reached)), int(status_code(Status.completed)))
_NAMES = ("not_finite", "inaccurate")
# Outcomes from the most to the least trustworthy; any other is as good as converged.
_RANK = {
    int(status_code(Status.objective_decreased)): 1,
    int(status_code(Status.degenerate_component)): 2,
    _INACCURATE: 3,
    int(status_code(Status.not_finite)): 4,
}


def _better(new: Outcome, old: Outcome, dtype: Any) -> bool:
    ranks = _RANK.get(new.code, 0), _RANK.get(old.code, 0)
    if ranks[0] != ranks[1]:
        return ranks[0] < ranks[1]
    if not math.isfinite(old.objective) or not math.isfinite(new.objective):
        return math.isfinite(new.objective) > math.isfinite(old.objective)
    slack = 100 * float(jnp.finfo(dtype).eps) * abs(old.objective)
    if abs(new.objective - old.objective) <= slack:
        return new.start < old.start
    return new.objective > old.objective


def _running(state: State) -> Any:
    return status_from_code(jnp.full_like(status_code(state.status), int(status_code(Status.running))))


@eqx.filter_jit  # so that its shapes are found once
def _init(model: AbstractModel, key: PRNGKeyArray, data: PyTree, weights: Array) -> PyTree:
    return model.init(key, data, weights)


@eqx.filter_jit
def _problem(
    model: AbstractModel,
    algorithm: Algorithm,
    termination: AbstractTermination | None,
    data: PyTree,
    weights: Array,
    rows: int,
) -> Problem:
    bound = model.bind(data, weights)
    return Problem.make(bound, algorithm, data, weights, tol=0.0, max_steps=0, termination=termination, rows=rows)


def _limits(problem: Problem, tol: float, max_steps: int) -> Problem:
    values = jnp.asarray(tol, problem.weights.dtype), jnp.asarray(max_steps, jnp.int32)
    return eqx.tree_at(lambda p: (p.tol, p.max_steps), problem, values)


@eqx.filter_jit
def _draw(problem: Problem, key: PRNGKeyArray, numbers: Array) -> tuple[PyTree, PRNGKeyArray]:
    seeds, noise = _keys(key, numbers)
    return jax.vmap(lambda seed: problem.model.init(seed, problem.data, problem.weights))(seeds), noise


@eqx.filter_jit
def _encode(problem: Problem, key: PRNGKeyArray, starts: PyTree, numbers: Array) -> tuple[PyTree, PRNGKeyArray]:
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], starts)
    return jax.vmap(problem.model.encode)(params), _keys(key, numbers)[1]


def _keys(key: PRNGKeyArray, numbers: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """For each start, a key to draw its parameters and one for its run."""
    both = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.concatenate([2 * numbers, 2 * numbers + 1]))
    return both[: numbers.shape[0]], both[numbers.shape[0] :]


def _drawer(problem: Problem, key: PRNGKeyArray, starts: PyTree | None) -> Callable[[np.ndarray], Any]:
    if starts is None:
        return lambda numbers: _draw(problem, key, jnp.asarray(numbers, jnp.int32))
    return lambda numbers: _encode(problem, key, starts, jnp.asarray(numbers, jnp.int32))


_finish = eqx.filter_jit(finish)
_on_accurate_kernel = eqx.filter_jit(on_accurate_kernel)


def _lanes(model: AbstractModel, shapes: PyTree, n: int, restarts: int, batch_size: int | None) -> int:
    if batch_size is not None:
        return min(_positive("batch_size", batch_size), restarts)
    most = _CPU_LANES if jax.default_backend() == "cpu" else _DEVICE_LANES
    each = model.floats_per_row(shapes) * min(n, 8192) + 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    return max(min(most, restarts, _LANE_FLOATS // each), 1)


def _rows(model: AbstractModel, params: PyTree, n: int, lanes: int) -> int:
    return chunk_rows(n, model.floats_per_row(params, lanes))


def _positive(name: str, value: Any, least: int = 1) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise DataError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise DataError(f"{name} must be at least {least}, got {number}")
    return number


def _printer() -> Callable[[Progress], None]:
    import sys

    def show(p: Progress) -> None:
        end = "\n" if p.done == p.total and p.running == 0 else ""
        sys.stderr.write(f"\r{p.done}/{p.total} starts, {p.steps} steps, best {p.best:.6g}{end}")
        sys.stderr.flush()

    return show
