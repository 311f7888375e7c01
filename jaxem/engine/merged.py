"""One search from the snapshots of several, which each made some of its fits: what is known of runs that are over."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxem._status import Status, status_code
from jaxem.engine.checkpoint import Snapshot
from jaxem.engine.snapshot import BEST, RECORDS, first_stage, pack_histories, unpack_histories
from jaxem.termination import Racing

_RUNNING = int(status_code(Status.running))
_BLANK = {"objective": np.nan, "code": _RUNNING, "num_steps": 0}


class Source(NamedTuple):
    """The snapshot of a search for `size` fits from number `first` on."""

    first: int
    size: int
    snapshot: Snapshot

    def record(self, name: str) -> np.ndarray:
        """What is noted of each start, `[fits, starts]`."""
        return self.snapshot.arrays[f"record/{name}"].reshape(self.size, -1)

    def known(self, racing: Racing | None) -> Int[np.ndarray, " fits"]:
        """How many starts of each fit are over; of a race that is not decided, none counts.

        Who is dropped depends on all starts of the fit: they have to race together again.
        """
        over = self.record("code") != _RUNNING
        number = over.sum(1)
        return number if first_stage(racing, over.shape[1]).kind == "run" else np.where(over.all(1), number, 0)


class _Ended(NamedTuple):
    """The best run of a fit: what the header tells of it, its history, and the leaves of its state by number."""

    told: list[Any]
    history: np.ndarray
    leaves: dict[str, np.ndarray]


def choice(sources: Sequence[Source], first: int, count: int, racing: Racing | None) -> Int[np.ndarray, " fits"]:
    """Which source knows most of each of `count` fits from number `first` on: the earliest of several, -1 for none."""
    known = np.zeros((len(sources) + 1, count), int)
    for own, source in zip(known[1:], sources, strict=True):
        here, there = _common(source, first, count)
        own[here] = source.known(racing)[there]
    return known.argmax(0) - 1


def merged(sources: Sequence[Source], chosen: Int[np.ndarray, " fits"], first: int, racing: Racing | None) -> Snapshot:
    """A search for the fits from number `first` on, which begins what is not over in the `chosen` source of each."""
    each, count = sources[0].record("code").shape[1], len(chosen)
    records = {name: np.full((count, each), blank) for name, blank in _BLANK.items()}
    best: list[_Ended] = []
    for number, source in enumerate(sources):
        here, there = _common(source, first, count)
        wanted = chosen[here] == number
        over = wanted[:, None] & (source.record("code")[there] != _RUNNING)
        for name in RECORDS:
            records[name][here][over] = source.record(name)[there][over]
        best += _moved(source, first, each, set((np.arange(count)[here][wanted] + first).tolist()))
    fresh = np.flatnonzero(records["code"].reshape(-1) == _RUNNING).tolist()
    begin = first_stage(racing, each)
    arrays = {f"record/{name}": values.reshape(-1) for name, values in records.items()}
    for accurate, name in enumerate(BEST):
        own = [one.leaves for one in best if one.told[-1] == bool(accurate)]
        arrays |= {f"{name}/{i}": np.stack([leaves[i] for leaves in own]) for i in (own[0] if own else ())}
    pack_histories(arrays, "best", [[one.history] for one in best])
    pack_histories(arrays, "running", [])
    headers = [sources[number].snapshot.header for number in sorted(set(chosen.tolist()) - {-1})]
    header = {
        "done": count * each - len(fresh),
        "rounds": max([header["rounds"] for header in headers], default=0),
        "steps": int(records["num_steps"].sum()),
        "accurate_lanes": max([header["accurate_lanes"] for header in headers], default=0),
        "layout": None,
        "stage": [begin.kind, begin.steps] if fresh else None,
        "going": None,
        "fresh": fresh,
        "aside": [],
        "best": [one.told for one in best],
        "histories": [],
        "groups": None,
    }
    return Snapshot(header, arrays)


def _common(source: Source, first: int, count: int) -> tuple[slice, slice]:
    """The fits of a source that are among `count` from number `first` on: where they are there, and in the source."""
    begin, end = max(source.first, first), min(source.first + source.size, first + count)
    end = max(begin, end)
    return slice(begin - first, end - first), slice(begin - source.first, end - source.first)


def _moved(source: Source, first: int, each: int, wanted: set[int]) -> list[_Ended]:
    """The best runs of the fits that are wanted of a source, with numbers in a search whose first fit is `first`."""
    header, arrays = source.snapshot
    found, seen, shift = [], [0, 0], source.first - first
    leaves: list[dict[str, np.ndarray]] = [{}, {}]
    for key, values in arrays.items():
        name, _, leaf = key.rpartition("/")
        if name in BEST and leaf.isdigit():
            leaves[BEST.index(name)][leaf] = values
    for told, history in zip(header["best"], unpack_histories(arrays, "best"), strict=True):
        fit, start, *rest, accurate = told
        row = seen[accurate]
        seen[accurate] += 1
        if fit + source.first in wanted:
            own = {leaf: values[row] for leaf, values in leaves[accurate].items()}
            found.append(_Ended([fit + shift, start + shift * each, *rest, accurate], history, own))
    return found
