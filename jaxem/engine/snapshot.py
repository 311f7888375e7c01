"""A search as named arrays, and back: what the file of a checkpoint holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jaxem._errors import DataError
from jaxem.engine.checkpoint import Snapshot
from jaxem.engine.lane import Lane, stack
from jaxem.engine.lanes import begin_anew, begin_lanes
from jaxem.engine.pool import GroupState, Outcome
from jaxem.engine.processes import whole
from jaxem.engine.programs import Program
from jaxem.engine.state import State
from jaxem.engine.trees import is_key
from jaxem.termination import Racing


class Best(NamedTuple):
    """The best run so far, and whether it was on the accurate kernel."""

    outcome: Outcome
    accurate: bool

    @property
    def state(self) -> State:
        return self.outcome.lane.state()


class Aside(NamedTuple):
    """A run that was set aside for the next stage."""

    start: int
    code: int
    objective: float
    num_steps: int
    lane: Lane


class Stage(NamedTuple):
    """Runs that go together, fresh starts (`None`) or runs set aside before: a round of a race, all, the accurate."""

    kind: str
    going: list[tuple[int, Lane]] | None = None
    steps: int = 0  # at which a round of a race is decided
    fresh: Sequence[int] | None = None  # the starts that begin, if these are not all


BEST = ("best", "best, accurate")  # on either kernel
RECORDS = ("objective", "code", "num_steps")
_COUNTERS = ("done", "rounds", "steps", "accurate_lanes")


def first_stage(racing: Racing | None, each: int) -> Stage:
    """What a search begins with, of so many starts for each model."""
    return Stage("run") if racing is None or each <= racing.finalists else Stage("race", steps=racing.steps)


def snapshot(search: Any, groups: Sequence[GroupState | None]) -> Snapshot:
    """A `Search` between two rounds, whose groups go on from `groups`."""
    arrays = {f"record/{name}": getattr(search, name) for name in RECORDS}
    stage, best = search.stage, [(i, one) for i, one in enumerate(search.best) if one]
    header = {
        **{name: getattr(search, name) for name in _COUNTERS},
        "layout": search.layout,
        "stage": None if stage is None else [stage.kind, stage.steps],
        "going": None if stage is None or stage.going is None else [start for start, _ in stage.going],
        "fresh": None if stage is None or stage.fresh is None else [*stage.fresh],
        "aside": [one[:-1] for one in search.aside],
        "best": [[i, *one.outcome.told(), one.accurate] for i, one in best],
        "histories": [*search.histories],
        "groups": [None if group is None else [group.taken, group.position] for group in groups],
    }
    for i, group in enumerate(groups):
        if group is not None:
            arrays |= {f"group/{i}/owner": group.owner, f"group/{i}/last": group.last}
            pack(arrays, f"group/{i}", group.lanes)
    _pack_each(arrays, "going", [lane for _, lane in (stage and stage.going) or []])
    _pack_each(arrays, "aside", [one.lane for one in search.aside])
    for accurate, name in enumerate(BEST):  # thousands, of many fits: one array for all
        _pack_each(arrays, name, [one.outcome.lane for _, one in best if one.accurate == bool(accurate)], ring=False)
    pack_histories(arrays, "best", [one.outcome.history for _, one in best])
    pack_histories(arrays, "running", list(search.histories.values()))
    return Snapshot(header, arrays)


def restore(search: Any, saved: Snapshot, draw: Callable, key: PRNGKeyArray) -> None:
    """Makes a new `Search` of the same call what it was when `saved` was written."""
    header, arrays = saved
    with reading():
        for name in RECORDS:
            own = getattr(search, name)
            own[:] = arrays[f"record/{name}"]
        for name in _COUNTERS:
            setattr(search, name, int(header[name]))
        starts, steps = np.zeros(search.layout.lanes, np.int32), search.runner.round_steps
        begun = partial(begin_lanes, search.problem, draw, starts, steps + 1)
        # What is drawn by passes over batches cannot be traced.
        traceable = isinstance(getattr(draw, "func", None), Program)
        fresh = _one(eqx.filter_eval_shape(begun) if traceable else begun())

        @cache
        def shapes(accurate: bool) -> State:
            """Of a run on either kernel."""
            if not accurate:
                return fresh
            problem = search.on_accurate_kernel(fresh).of_starts(starts[:1])
            return _one(eqx.filter_eval_shape(begin_anew, problem, jax.tree.map(lambda leaf: _many(leaf, 1), fresh)))

        going = header["going"]
        if going is not None:
            going = list(zip(going, _unpack_each(arrays, "going", fresh, key, len(going)), strict=True))
        aside = _unpack_each(arrays, "aside", fresh, key, len(header["aside"]))
        search.aside = [Aside._make([*told, lane]) for told, lane in zip(header["aside"], aside, strict=True)]
        counts = [sum(accurate == kind for *_, accurate in header["best"]) for kind in (False, True)]

        def ended(kind: int) -> Iterator[Lane]:
            """What has ended needs no ring for the steps to come, but has one like all others."""
            if not counts[kind]:
                return iter(())
            like = shapes(bool(kind))
            ring = np.full((counts[kind], *like.history.shape), np.nan, like.history.dtype)
            like = like._replace(history=jax.ShapeDtypeStruct((0,), ring.dtype))
            return iter(_unpack_each(arrays, BEST[kind], like, key, counts[kind], ring))

        found = [ended(kind) for kind in range(len(BEST))]
        for told, history in zip(header["best"], unpack_histories(arrays, "best"), strict=True):
            i, start, code, objective, num_steps, accurate = told
            search.best[i] = Best(
                Outcome(start, code, objective, num_steps, [history], next(found[accurate])), accurate
            )
        running = zip(header["histories"], unpack_histories(arrays, "running"), strict=True)
        search.histories = {i: [history] for i, history in running}
        if header["stage"] is None:
            return
        kind, decided = header["stage"]
        search.stage = Stage(kind, going, decided, header["fresh"])
        if header["groups"] is None:  # nothing has been begun
            return
        own = shapes(kind == "accurate")

        def group(i: int, taken: int, position: int) -> GroupState:
            owner, last = arrays[f"group/{i}/owner"], arrays[f"group/{i}/last"]
            return GroupState(unpack(arrays, f"group/{i}", own, key, len(owner)), owner, last, taken, position)

        search.groups = [told and group(i, *told) for i, told in enumerate(header["groups"])]


@contextmanager
def reading() -> Iterator[None]:
    """Within the block what is not as a snapshot of such a search has it is a `DataError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"checkpoint: the file does not hold such a search ({error}): remove it, or give another path"
        ) from None


def pack(arrays: dict[str, np.ndarray], name: str, tree: PyTree) -> None:
    """The leaves of a tree, by their number; random keys as the numbers that they are."""
    arrays |= {f"{name}/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(_numbers(tree)))}


def _pack_each(arrays: dict[str, np.ndarray], name: str, runs: list[Lane], ring: bool = True) -> None:
    if runs:
        kept = {id(run.lanes): run.lanes for run in runs}
        numbers = {which: _numbers(lanes) for which, lanes in kept.items()}  # on the host, wherever they lie
        lanes = stack([Lane(numbers[id(run.lanes)], run.number) for run in runs])
        pack(arrays, name, lanes if ring else lanes._replace(history=lanes.history[:, :0]))


def unpack(arrays: dict[str, np.ndarray], name: str, like: State, key: PRNGKeyArray, lanes: int | None = None) -> State:
    """The tree whose leaves were packed, with the shapes of `like`, behind an axis of `lanes` if there is one.

    Random keys are of the kind of `key`.
    """
    leaves, structure = jax.tree.flatten(like)
    leading = () if lanes is None else (lanes,)

    def read(i: int, wanted: Any) -> Any:
        array, drawn = arrays[f"{name}/{i}"], is_key(wanted)
        numbers = jax.eval_shape(jax.random.key_data, wanted) if drawn else wanted
        if array.shape != (*leading, *numbers.shape) or array.dtype != numbers.dtype:
            raise ValueError(
                f"{name} {i} is {array.dtype}{array.shape}, not {numbers.dtype}{(*leading, *numbers.shape)}"
            )
        # Own memory: what was read lies at any address, which is no alignment to compute with.
        found = jnp.array(array)
        return jax.random.wrap_key_data(found, impl=jax.random.key_impl(key)) if drawn else found

    return jax.tree.unflatten(structure, [read(i, leaf) for i, leaf in enumerate(leaves)])


def _unpack_each(
    arrays: dict[str, np.ndarray],
    name: str,
    like: State,
    key: PRNGKeyArray,
    count: int,
    ring: np.ndarray | None = None,
) -> list[Lane]:
    if not count:
        return []
    lanes = unpack(arrays, name, like, key, count)
    lanes = lanes if ring is None else lanes._replace(history=ring)
    return [Lane(lanes, i) for i in range(count)]


def _numbers(tree: PyTree) -> PyTree:
    numbers = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)
    return jax.tree.map(np.asarray, whole(numbers))


def _one(lanes: PyTree) -> PyTree:
    """The shapes of one of several lanes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), lanes)


def _many(leaf: Any, lanes: int) -> Any:
    return jax.ShapeDtypeStruct((lanes, *leaf.shape), leaf.dtype)


def pack_histories(arrays: dict[str, np.ndarray], name: str, histories: list[list[np.ndarray]]) -> None:
    """Objectives after each step of several runs, one run after the other, and how many each has."""
    joined = [np.concatenate(history) if history else np.zeros(0) for history in histories]
    arrays[f"{name}/lengths"] = np.asarray([len(history) for history in joined], np.int64)
    arrays[f"{name}/histories"] = np.concatenate(joined) if joined else np.zeros(0)


def unpack_histories(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Those of each run."""
    return np.split(arrays[f"{name}/histories"], np.cumsum(arrays[f"{name}/lengths"]))[:-1]
