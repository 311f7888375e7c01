"""`fit`: the host entry."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count, as_starts, as_tolerance, require_key, require_kind
from jaxem._bound import rows_per_chunk
from jaxem._errors import DataError, FitError
from jaxem._model import AbstractModel
from jaxem._renamed import renamed
from jaxem._solve import Fit
from jaxem._traced import require_concrete
from jaxem.engine import cache
from jaxem.engine.buckets import FITTED, Lengthen, filled
from jaxem.engine.checkpoint import Part, part_of
from jaxem.engine.convert import float_dtype
from jaxem.engine.door import Admitted, for_fit
from jaxem.engine.kept import result_shapes
from jaxem.engine.lanes import Layout, layout_of
from jaxem.engine.layout import Laid, by_gaps
from jaxem.engine.loop import enter, require_modes, step
from jaxem.engine.mesh import of_lanes, on_mesh, require_mesh
from jaxem.engine.problem import Problem
from jaxem.engine.programs import program
from jaxem.engine.runner import AtHand
from jaxem.engine.search import Search
from jaxem.engine.spread import beside, is_spread, ones_beside, placed
from jaxem.engine.state import begin
from jaxem.engine.stop import Stop
from jaxem.init import METHODS, AbstractInit
from jaxem.kernels.chunks import num_rows
from jaxem.kernels.gaps import Blocks
from jaxem.kernels.sums import unreduced
from jaxem.record import Progress
from jaxem.structures.labelled import with_labels
from jaxem.termination import AbstractTermination, Racing, default_tolerance
from jaxem.update import Full


@renamed(batch_size="lanes")
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
    tol: float | None = None,
    max_steps: int = 1000,
    termination: AbstractTermination | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    chunk_rows: int | None = None,
    racing: Racing | None = None,
    mesh: Mesh | None = None,
    time_limit: float | None = None,
    checkpoint: Any = None,
    throw: bool = True,
) -> Fit:
    """Fits a model from one or many starts and returns the best.

    Checks the data, draws the starts on the device, and runs them side by side in lanes of one compiled program that
    are refilled as they finish. Another call with the same shapes compiles nothing, whatever `tol`, `max_steps` and
    `key`. Where single precision loses too many digits the runs concerned go on with slower, accurate statistics.

    **Arguments:**

    - `model`: a model, such as `jaxem.GaussianMixture(3)`.
    - `data`: a table `[n, d]` (NumPy, JAX, pandas, polars, or anything that NumPy converts), or what the model takes.
        Integers are converted to floats, entries that are masked are missing ones; float64 is computed in only if
        `jax_enable_x64` is set (a `PrecisionWarning` says so).
        NumPy arrays are copied, except, on a CPU, those aligned to 64 bytes, as of `numpy.load(..., mmap_mode="r")`.
    - `key`: a JAX random key. The same key gives the same answer, at any number of lanes.
    - `restarts`: how many starts.
    - `init`: parameters (one set, or a stack of them along a leading axis), an `AbstractInit`, or the name of a
        method: `"kmeans++"` (the default for mixtures), `"points"`, `"random"`, `"short_runs"`.
    - `algorithm`: a variant of EM; by default `jaxem.em()`, or `jaxem.em_gradient()` for a model without a closed-form
        M-step.
    - `weights`: a weight for each row, `[n]`; weight `k` is the same as `k` copies, and 0 as no row.
    - `labels`: integers `[n]`: the component of the rows where it is known, -1 where it is not.
    - `tol`: tolerance of the termination: by default how much more objective per unit of weight there is to gain, in
        nats; 1e-8 in double precision, 1e-6 in single precision.
    - `max_steps`: the most iterations of a run.
    - `termination`: see `jaxem.termination`; by default `Aitken()`, which extrapolates the gains to their limit, or
        `FixedSteps()` for an algorithm whose objective may fall.
    - `progress`: called with a `jaxem.record.Progress` after every round, and ends the fit if it answers `True`;
        `progress=True` prints a line to standard error.
    - `lanes`: how many starts run side by side; chosen by device and size. On a CPU they are split between cores.
    - `chunk_rows`: rows that an E-step holds at a time, on each device; chosen by device and size.
    - `mesh`: devices to work on, a `jax.sharding.Mesh` with an axis `"rows"`, over which rows are spread, or an axis
        `"lanes"`, over which starts are, or both. Of several processes (`jax.distributed`) each gives rows of its
        own. Rows that are spread already, by a `NamedSharding`, stay where they are, without a mesh.
    - `racing`: a `jaxem.termination.Racing`, to stop starts early that are behind.
    - `time_limit`: seconds after which the fit ends, once the round at hand is over.
    - `checkpoint`: a path, or a `jaxem.Checkpoint`: where the fit is written down on its way. The same call goes on
        from there, and ends with the bits of a fit that was never interrupted.
    - `throw`: raise `FitError` if every start failed; otherwise the result says so in its status.

    A fit that ends early, at the time limit, for `progress` or at the first Ctrl-C (a second one raises
    `KeyboardInterrupt`), has status `stopped`; `restarts.status` says what became of each start.

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
    require_concrete("jaxem.fit", "jaxem.solve", model=model, data=data, weights=weights, init=init)
    stop = Stop.of(time_limit)
    restarts, max_steps = as_count("restarts", restarts), as_count("max_steps", max_steps, least=0)
    require_key(key)
    require_kind("model", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("termination", termination, AbstractTermination, "jaxem.termination.Gain()")
    require_kind("racing", racing, Racing, "jaxem.termination.Racing()")
    data = data if labels is None else with_labels(data, labels)
    if mesh is not None:
        mesh = require_mesh(mesh)
        data, weights = on_mesh(mesh, data, weights)
    admitted = for_fit(model, data, weights)
    algorithm, dtype = algorithm or default_algorithm(model), float_dtype(admitted.data)
    asked = {"model": model, "data": admitted.data, "weights": admitted.weights, "init": init, "key": key}
    asked |= {"algorithm": algorithm, "termination": termination, "tol": tol, "max_steps": max_steps}
    asked |= {"restarts": restarts, "racing": racing, "lanes": lanes}
    place = part_of(checkpoint, "fit", asked)

    model, init = with_method(model, init)
    lifted = algorithm.m_step.lift(model)
    problem = problem_of(lifted, algorithm, admitted, tol, max_steps, termination, model.lengthen)
    if init is None:
        require_different_starts(model, algorithm, restarts)
        drawing = partial(draw, problem, key)
    else:
        starts, count = as_starts(init, start_shapes(model, key, problem.data, problem.weights), model, dtype)
        if restarts not in (1, count):
            raise DataError(f"restarts={restarts}, but init holds {count} sets of parameters; leave restarts out")
        restarts = count
        drawing = partial(encode, problem, key, starts, lifted is not model)
    spread = of_lanes(mesh)
    problem, layout = in_lanes(problem, key, restarts, lanes, place, chunk_rows, spread)
    require_modes(
        lifted,
        algorithm,
        lambda: step(problem, begin(problem, init_of(problem.model, key, problem.data, problem.weights), key)),
    )
    with stop.interruptible():
        search = searched(
            Search(problem, layout, restarts, progress, 1, stop, place, spread and AtHand(spread)), drawing, key, racing
        )
    try:
        return in_unit(search.result(throw), admitted.unit)
    except FitError as error:
        raise FitError(f"{error}; pass throw=False to look at what there is") from None


def with_method(model: Any, init: Any) -> tuple[Any, Any]:
    """The model with the method of drawing starts in `init`, and the parameters in it; `None` where there are none."""
    if isinstance(init, str):
        if init not in METHODS:
            raise DataError(f"init: no method {init!r}; choose from {', '.join(METHODS)}, or pass parameters")
        init = METHODS[init]
    if not isinstance(init, AbstractInit):
        return model, init
    if not isinstance(getattr(model, "start", None), AbstractInit):
        raise DataError(f"init: {type(model).__name__} draws its own starts; leave init out, or pass parameters")
    return dataclasses.replace(model, start=init), None


def require_different_starts(model: Any, algorithm: Algorithm, restarts: int) -> None:
    """Raise `DataError` for several starts of a model that has one."""
    if restarts > 1 and model.fixed_start and not algorithm.draws:
        raise DataError(
            f"restarts={restarts}, but {type(model).__name__} has one fixed start, so that all would be the same: "
            "leave restarts out, or give the model a function that draws its start"
        )


def problem_of(
    model: AbstractModel,
    algorithm: Algorithm,
    admitted: Admitted,
    tol: float | None,
    max_steps: int,
    termination: AbstractTermination | None,
    lengthen: Lengthen | None = None,
) -> Problem:
    """The problem of a search over starts, on the device, with the data filled up; see `AbstractModel.lengthen`."""
    dtype = float_dtype(admitted.data)
    laid = _laid_out(model, admitted, dtype, algorithm)
    data, weights = _filled(admitted, dtype, algorithm, lengthen) if laid is None else (laid.data, laid.weights)
    data, weights = jax.tree.map(placed, data), beside(data, weights)
    bound = _bind(model, algorithm, termination, data, weights, None if laid is None else laid.blocks)
    tol = default_tolerance(dtype) if tol is None else as_tolerance(tol)
    limits = jax.device_put((np.asarray(tol, weights.dtype), np.asarray(max_steps, np.int32)))
    return dataclasses.replace(bound, data=data, weights=weights, tol=limits[0], max_steps=limits[1])


def in_lanes(
    problem: Problem,
    key: PRNGKeyArray,
    restarts: int,
    lanes: int | None,
    place: Part | None = None,
    chunk_rows: int | None = None,
    spread: NamedSharding | None = None,
) -> tuple[Problem, Layout]:
    """The problem with its chunks sized for the runs that go side by side, and how these are laid out."""
    shapes, n = start_shapes(problem.model, key, problem.data, problem.weights), num_rows(problem.data)
    devices = 1 if spread is None else spread.mesh.shape["lanes"]
    layout = layout_of(problem, shapes, n, restarts, lanes, place).shared_by(devices)
    each = layout.lanes // devices
    model = problem.model.for_lanes(each)
    rows = rows_per_chunk(model, shapes, n, each, problem.block)
    if chunk_rows is not None:
        rows = -(-min(as_count("chunk_rows", chunk_rows), n) // problem.block) * problem.block
    return dataclasses.replace(problem, model=model, chunk_rows=rows), layout


def searched(search: Search, draw: partial, key: PRNGKeyArray, racing: Racing | None = None) -> Search:
    """The search, once every start that `draw` gives has been run."""
    search.prepare(draw, key, racing)
    search.run(draw, key, racing)
    return search


def _filled(admitted: Admitted, dtype: Any, algorithm: Algorithm, lengthen: Lengthen | None) -> tuple[PyTree, Any]:
    """Data and weights with rows of weight 0 up to the next size that programs are compiled for.

    Algorithms that draw would draw for those rows too, and others in the end.
    """
    found = None if algorithm.draws else filled(*admitted[:2], dtype, FITTED, lengthen)
    if found is not None:
        return found.data, found.weights
    weights = admitted.weights
    return admitted.data, ones_beside(admitted.data, dtype) if weights is None else weights


def _laid_out(model: AbstractModel, admitted: Admitted, dtype: Any, algorithm: Algorithm) -> Laid | None:
    """The data with rows that lack the same entries side by side, where all that looks at them is the exact E-step."""
    if is_spread(admitted.data):
        return None  # rows stay where they are
    alone = algorithm.e_step.integrates and isinstance(algorithm.update, Full) and not algorithm.draws
    return by_gaps(model.bound(), admitted.data, admitted.weights, dtype) if alone else None


def in_unit(fit: Fit, unit: float) -> Fit:
    """A fit under weights in units of `unit`, as one under the weights themselves."""
    if unit == 1:
        return fit
    assert fit.restarts is not None
    scaled = {name: getattr(fit, name) * unit for name in ("log_likelihood", "objective", "history")}
    restarts = dataclasses.replace(fit.restarts, objective=fit.restarts.objective * unit)
    return dataclasses.replace(fit, restarts=restarts, **scaled)


def start_shapes(*args: Any) -> PyTree:
    """Shapes of the parameters that `init_of` returns."""
    return result_shapes(init_of, args, cache.store())


def init_of(*args: Any) -> PyTree:
    """`model.init(key, data, weights)`, traced once for each kind of model and data, whoever asks."""
    return _traced_init(*_static_and_arrays(args))


def _static_and_arrays(args: PyTree) -> tuple[Any, PyTree]:
    arrays, rest = eqx.partition(args, eqx.is_array)
    leaves, structure = jax.tree.flatten(rest)
    return (tuple(leaves), structure), arrays


@partial(jax.jit, static_argnums=0)
def _traced_init(static: Any, arrays: PyTree) -> PyTree:
    leaves, structure = static
    model, key, data, weights = eqx.combine(arrays, jax.tree.unflatten(structure, leaves))
    return model.init(key, data, weights)


@program(quickly=True)
def _bind(
    model: AbstractModel,
    algorithm: Algorithm,
    termination: AbstractTermination | None,
    data: PyTree,
    weights: Array,
    blocks: Blocks | None,
) -> Problem:
    """All but what is at hand: a program would copy the data that it returns."""
    bound = model.bind(data, weights, unreduced)
    bound, block = (bound, 1) if blocks is None else (bound.laid_out(blocks), blocks.rows)
    made = Problem.make(bound, algorithm, data, weights, tol=0.0, max_steps=0, termination=termination, block=block)
    return dataclasses.replace(made, data=None, weights=None)  # pyright: ignore[reportArgumentType]


@program(quickly=True)
def draw(problem: Problem, key: PRNGKeyArray, numbers: Array) -> tuple[PyTree, PRNGKeyArray]:
    """Parameters to start from, and a key for the run, of the starts of these numbers."""
    seeds, noise = keys_of(key, numbers)
    params = jax.vmap(lambda seed: init_of(problem.model, seed, problem.data, problem.weights))(seeds)
    return of_set_type(params), noise


@program(quickly=True)
def encode(
    problem: Problem, key: PRNGKeyArray, starts: PyTree, lifted: bool, numbers: Array
) -> tuple[PyTree, PRNGKeyArray]:
    """As `draw`, of starts that are given."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[numbers], starts)

    def begun(params):
        return enter(problem.model, params, problem.data, problem.weights, lifted)

    return of_set_type(jax.vmap(begun)(params)), keys_of(key, numbers)[1]


def of_set_type(params: PyTree) -> PyTree:
    """Without weak types: the programs that go on from here have been prepared for arrays like any other."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), params)


def keys_of(key: PRNGKeyArray, numbers: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """For each start, a key to draw its parameters and one for its run."""
    both = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.concatenate([2 * numbers, 2 * numbers + 1]))
    return both[: numbers.shape[0]], both[numbers.shape[0] :]
