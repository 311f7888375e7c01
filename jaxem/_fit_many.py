"""`fit_many`: many fits at once, of data sets, weights, priors or starts."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count, as_starts, as_tolerance, require_key, require_kind
from jaxem._errors import DataError
from jaxem._fit import (
    in_unit,
    init_of,
    keys_of,
    of_set_type,
    require_different_starts,
    searched,
    start_shapes,
    with_method,
)
from jaxem._many_checkpoint import place_of_all
from jaxem._many_processes import of_all_processes
from jaxem._many_results import collected, in_lanes
from jaxem._many_rows import ManyRows, WeightsOfAll, admitted_rows, arguments_over, count_fits
from jaxem._model import AbstractModel
from jaxem._solve import Fit
from jaxem._traced import require_concrete
from jaxem.engine.buckets import FITTED, bucket
from jaxem.engine.checkpoint import Part
from jaxem.engine.convert import as_data
from jaxem.engine.loop import enter, require_modes, step
from jaxem.engine.many import Many
from jaxem.engine.problem import Problem
from jaxem.engine.processes import is_shared
from jaxem.engine.programs import program
from jaxem.engine.search import Search
from jaxem.engine.state import begin
from jaxem.engine.stop import Stop
from jaxem.engine.trees import first_of
from jaxem.kernels.linalg import trailing
from jaxem.kernels.sums import unreduced
from jaxem.record import Progress
from jaxem.termination import AbstractTermination, Racing, default_tolerance


def fit_many(
    model: AbstractModel,
    data: Any,
    *,
    key: PRNGKeyArray,
    restarts: int = 1,
    init: Any = None,
    algorithm: Algorithm | None = None,
    weights: Any = None,
    over: str | Sequence[str] | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    termination: AbstractTermination | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    racing: Racing | None = None,
    time_limit: float | None = None,
    checkpoint: Any = None,
) -> Fit:
    """Many fits at once: the same model to many data sets, or to one under many weights, priors or starts.

    The arguments named in `over` have a leading axis of fits; all others are common to them. Runs go side by side in
    lanes of one compiled program. A lane that ends is given the next run, so that a slow fit keeps nobody waiting, as
    it does under `jax.vmap` of `jaxem.solve`.

    **Arguments:**

    - `model`: a model. Over `"model"`, one whose arrays have the leading axis, as `equinox.filter_vmap` of a function
        that makes a model returns it: priors of different strength, for instance.
    - `data`: a table `[fits, n, d]` (or what the model takes, with the leading axis) over `"data"`, else as for
        `jaxem.fit`. Tables of different lengths are filled up with any rows, to which `weights` gives weight 0.
    - `key`: a JAX random key. Fit `i` is that of `jaxem.fit` with the key `jax.random.fold_in(key, i)`, to rounding.
    - `restarts`: how many starts each fit has, those in `init` and others that are drawn; the best is returned.
    - `init`: as for `jaxem.fit`. Over `"init"`, parameters with the leading axis: one start for each fit.
    - `weights`: `[fits, n]` over `"weights"`, such as the counts of bootstrap samples, or 0 for the rows of a fold that
        is left out; else `[n]`.
    - `over`: the name of an argument, or several: `"data"`, `"weights"`, `"model"`, `"init"`. By default what the
        shapes of `data` and `weights` say; without weights `"data"`.
    - `algorithm`, `tol`, `max_steps`, `termination`, `progress`, `lanes`, `racing`, `time_limit`, `checkpoint`: as for
        `jaxem.fit`. The starts of each fit race among themselves.

    **Returns:** a `Fit` with a leading axis of fits in all its arrays; `history` is filled up with NaN, and `restarts`
    has shape `[fits, restarts]`. A fit all of whose starts failed says so in its `status` and raises nothing. If the
    call ends early, fits that are not over have status `stopped`, and those that were never begun parameters of NaN.

    With common data, the coordinates that a fit works in are those of the rows under the sum of all weights.

    Arrays over fits that are spread over processes along that axis share the fits out: each process runs its own, and
    all have the results of all. What is common to fits every process gives whole. Each keeps a `checkpoint` of its own
    fits: the first in the file of that name, process `i` in one whose name ends in `.i`. The same call goes on with
    another number of processes, one alone among them, which finds these files: starts that are over are taken from
    there, and others begin anew.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used.

    **Example**

    Standard errors of the means of a mixture by a bootstrap (Efron 1979).

    >>> import jax, numpy as np, jaxem
    >>> x, key = jaxem.datasets.old_faithful().data.astype("float32"), jax.random.key(0)
    >>> model = jaxem.GaussianMixture(2, "diagonal")
    >>> params = jaxem.fit(model, x, key=key, restarts=4).params
    >>> weights = np.random.default_rng(0).multinomial(len(x), np.full(len(x), 1 / len(x)), size=50)
    >>> fits = jaxem.fit_many(model, x, key=key, init=params, weights=weights)
    >>> fits.params.components.mean.shape, bool(fits.converged.all())
    ((50, 2, 2), True)
    >>> [f"{error:.2f}" for error in fits.params.components.mean.std(0)[:, 0]]  # minutes of an eruption
    ['0.03', '0.03']
    """
    require_concrete("jaxem.fit_many", "jax.vmap of jaxem.solve", model=model, data=data, weights=weights, init=init)
    stop = Stop.of(time_limit)
    restarts, max_steps = as_count("restarts", restarts), as_count("max_steps", max_steps, least=0)
    require_key(key)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("termination", termination, AbstractTermination, "jaxem.termination.Gain()")
    require_kind("racing", racing, Racing, "jaxem.termination.Racing()")
    data, algorithm = as_data(data, warn=True), algorithm or default_algorithm(model)
    over = arguments_over(over, data, weights)
    asked = {"over": over, "key": key, "algorithm": algorithm, "termination": termination, "restarts": restarts}
    asked |= {"tol": tol, "max_steps": max_steps, "lanes": lanes, "racing": racing}
    run = partial(_fit_these, **asked, stop=stop, progress=progress)
    given = {"model": model, "data": data, "weights": weights, "init": init}
    if is_shared(given):
        return of_all_processes(run, over, given, checkpoint, asked)
    given["weights"] = None if weights is None else np.asarray(weights)
    return run(**given, place=place_of_all(checkpoint, over, given, asked))


def _fit_these(
    model: AbstractModel,
    data: PyTree,
    weights: Any,
    init: Any,
    *,
    over: tuple[str, ...],
    key: PRNGKeyArray,
    algorithm: Algorithm,
    termination: AbstractTermination | None,
    stop: Stop,
    restarts: int,
    tol: float | None,
    max_steps: int,
    progress: Any,
    lanes: int | None,
    racing: Racing | None,
    place: Part | None,
    first: int = 0,
    of_all: WeightsOfAll | None = None,
) -> Fit:
    """The fits whose data are at hand. They have numbers from `first` on, and there may be others beside them."""
    count = count_fits(over, {"data": data, "weights": weights, "model": model, "init": init})
    model, init = with_method(model, init)
    one = first_of(model) if "model" in over else model
    found = admitted_rows(one, algorithm, data, weights, over, count, of_all)
    starts, given = None, 0
    if init is None:
        require_different_starts(model, algorithm, restarts)
    else:
        starts, given, restarts = _starts(init, one, key, found, over, count, restarts)
        require_different_starts(model, algorithm, restarts - given)
    problem = _bound(model, algorithm, termination, found, over, count, restarts, tol, max_steps)
    example = problem.first()
    require_modes(
        example.model,
        algorithm,
        lambda: step(example, begin(example, init_of(example.model, key, example.data, example.weights), key)),
    )
    # Idle lanes cost less than another compilation for every number of fits.
    most = bucket(count, 1, FITTED)
    problem, layout, runner = in_lanes(
        problem, example, key, most, restarts, lanes, "data" in over, place, racing is not None
    )
    if starts is None:
        draw = partial(_draw, problem, key, np.int32(first))
    else:
        encode = _encode if given == restarts else _encode_and_draw
        lifted = algorithm.m_step.lift(model) is not model
        draw = partial(encode, problem, key, np.int32(first), starts, np.int32(given), lifted)
    with stop.interruptible():
        search = Search(problem, layout, count * restarts, progress, count, stop, place, runner)
        searched(search, draw, key, racing)
    return in_unit(collected(search, layout.lanes), found.unit)


def _starts(
    init: Any, model: Any, key: PRNGKeyArray, found: ManyRows, over: tuple[str, ...], count: int, restarts: int
) -> tuple[PyTree, int, int]:
    """Given parameters as a stack, `[fits]` or `[given]`, how many of them each fit has, and how many starts in all."""
    data = first_of(found.data) if "data" in over else found.data
    weights = found.weights[0] if "weights" in over else found.weights
    starts, number = as_starts(init, start_shapes(model, key, data, weights), model, weights.dtype)
    each = 1 if "init" in over else number
    if "init" in over and number != count:
        raise DataError(f"over='init': init holds {number} sets of parameters for {count} fits")
    if 1 < restarts < each:
        raise DataError(f"restarts={restarts}, but init holds {each} for each fit; leave restarts out")
    return starts, each, max(restarts, each)


def _bound(
    model: Any,
    algorithm: Algorithm,
    termination: AbstractTermination | None,
    found: ManyRows,
    over: tuple[str, ...],
    count: int,
    restarts: int,
    tol: float | None,
    max_steps: int,
) -> Many:
    """The problems of all fits, filled up with copies to the next number that programs are compiled for."""
    index = np.arange(bucket(count, 1, FITTED)) % count
    named = [name in over for name in ("model", "data", "weights")]

    def more(tree: PyTree, own: bool) -> PyTree:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[index] if own and eqx.is_array(leaf) else leaf, tree)

    model, data, weights = (
        more(tree, own) for tree, own in zip((model, found.data, found.weights), named, strict=True)
    )
    total = found.total if named == [False, False, True] else None
    data, weights, total = jax.device_put((data, weights, total))
    dtype = weights.dtype
    made = _bind(algorithm.m_step.lift(model), algorithm, termination, data, weights, total, tuple(named))
    problem = dataclasses.replace(
        made,
        algorithm=algorithm,
        termination=termination or algorithm.termination(),
        data=data,
        weights=weights,
        tol=np.asarray(default_tolerance(dtype) if tol is None else as_tolerance(tol), dtype),
        max_steps=np.asarray(max_steps, np.int32),
    )

    own = [name for name, there in zip(("model", "data", "weights"), named, strict=True) if there]
    if named[1] and not named[0]:
        own.append("model")  # in coordinates that suit each table
    return Many.of(problem, (*own, *(("total_weight", "base") if own else ())), restarts)


@program(quickly=True)
def _bind(
    model: Any,
    algorithm: Algorithm,
    termination: AbstractTermination | None,
    data: PyTree,
    weights: Array,
    total: Array | None,
    over: tuple[bool, bool, bool],
) -> Problem:
    """The problem of each fit, but for what is at hand; the model of common data is bound to the `total` of weights."""

    def make(bound: Any, data: PyTree, weights: Array) -> Problem:
        made = Problem.make(bound, algorithm, data, weights, tol=0.0, max_steps=0, termination=termination)
        return dataclasses.replace(made, data=None, weights=None)  # pyright: ignore[reportArgumentType]

    if total is not None:
        bound = model.bind(data, total, unreduced)
        totals = jax.vmap(lambda w: (lambda p: (p.total_weight, p.base))(make(bound, data, w)))(weights)
        return eqx.tree_at(lambda p: (p.total_weight, p.base), make(bound, data, weights[0]), totals)
    if not any(over):
        return make(model.bind(data, weights, unreduced), data, weights)
    axes = tuple(eqx.if_array(0) if own else None for own in over)
    return eqx.filter_vmap(lambda model, data, w: make(model.bind(data, w, unreduced), data, w), in_axes=axes)(
        model, data, weights
    )


@program(quickly=True)
def _draw(problem: Many, key: PRNGKeyArray, first: Array, numbers: Array) -> tuple[PyTree, PRNGKeyArray]:
    return _drawn(problem, key, first, numbers)


@program(quickly=True)
def _encode(
    problem: Many, key: PRNGKeyArray, first: Array, starts: PyTree, given: Array, lifted: bool, numbers: Array
) -> tuple[PyTree, PRNGKeyArray]:
    """Given starts: one for each fit, or those of one fit, which are the same for all."""
    return _given(problem, starts, given, lifted, numbers)[0], _keys_of(problem, key, first, numbers)[1]


@program(quickly=True)
def _encode_and_draw(
    problem: Many, key: PRNGKeyArray, first: Array, starts: PyTree, given: Array, lifted: bool, numbers: Array
) -> tuple[PyTree, PRNGKeyArray]:
    """Those as the first starts of each fit; its others are drawn."""
    fresh, noise = _drawn(problem, key, first, numbers)
    params, there = _given(problem, starts, given, lifted, numbers)
    return jax.tree.map(lambda a, b: jnp.where(trailing(there, a), a, b), params, fresh), noise


def _drawn(problem: Many, key: PRNGKeyArray, first: Array, numbers: Array) -> tuple[PyTree, PRNGKeyArray]:
    seeds, noise = _keys_of(problem, key, first, numbers)
    params = problem.of_starts_in_order(numbers).each_lane(
        lambda problem, seed: init_of(problem.model, seed, problem.data, problem.weights), seeds
    )
    return of_set_type(params), noise


def _given(
    problem: Many, starts: PyTree, given: Array, lifted: bool, numbers: Array
) -> tuple[PyTree, Bool[Array, " lanes"]]:
    """Given starts, of which each fit has so many, and which of these starts they are."""
    own = jax.lax.rem(numbers, jnp.asarray(problem.restarts))
    place = jax.lax.div(numbers, jnp.asarray(problem.restarts)) * given + jnp.minimum(own, given - 1)
    index = jax.lax.rem(place, np.int32(jax.tree.leaves(starts)[0].shape[0]))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], starts)
    params = problem.of_starts_in_order(numbers).each_lane(
        lambda problem, params: enter(problem.model, params, problem.data, problem.weights, lifted), params
    )
    return of_set_type(params), own < given


def _keys_of(problem: Many, key: PRNGKeyArray, first: Array, numbers: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """As of the starts of a fit with the key `fold_in(key, i)`; the `first` fit of the problem has number `first`."""

    def both(number: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
        restarts = jnp.asarray(problem.restarts)
        own = jax.random.fold_in(key, first + jax.lax.div(number, restarts))
        seeds, noise = keys_of(own, jax.lax.rem(number, restarts)[None])
        return seeds[0], noise[0]

    return jax.vmap(both)(numbers)
