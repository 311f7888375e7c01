"""The files of a call whose fits are shared out between processes: each writes its own, any number goes on from all."""

import dataclasses
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxem._errors import DataError
from jaxem.engine.checkpoint import (
    Keeper,
    Kept,
    Part,
    Snapshot,
    as_checkpoint,
    difference,
    differing,
    of_another_call,
    read,
)
from jaxem.engine.merged import Source, choice, merged
from jaxem.engine.snapshot import reading
from jaxem.termination import Racing

_FITS = "fits"  # the part of a file that tells whose fits it holds


class Share(NamedTuple):
    """The fits of a process, `size` from number `first` on, and a digest of each fit of the call.

    `digests` has, for each argument that fits have for themselves, `[fits, 32]` bytes. It is process `number` of
    `processes`.
    """

    first: int
    size: int
    digests: dict[str, UInt8[np.ndarray, "fits 32"]]
    number: int = 0
    processes: int = 1

    def told(self) -> Snapshot:
        """As a part of a file."""
        own = {name: table[self.first : self.first + self.size] for name, table in self.digests.items()}
        return Snapshot({"first": self.first, "size": self.size, "processes": self.processes}, own)


def place_of_share(checkpoint: Any, name: str, asked: dict[str, Any], share: Share, racing: Racing | None) -> Part:
    """The place of the search for the fits of a share, with what is known of them.

    All files of the call are looked at: that of each process, of whatever number there were. What a call asks for
    includes every fit of it, and what becomes of a start depends on nothing else: any file of the same call tells the
    truth, however old. A search that had the very same fits, and than which none knows more, goes on as it was. Else
    each fit is taken from the file in which most of its starts are over, and its other starts begin anew.
    """
    to = as_checkpoint(checkpoint)
    path = Path(os.fspath(to.path))
    own = path_of(path, share.number)

    def known(asked: dict[str, str]) -> dict[str, Snapshot]:
        found = _of_call(path, asked, share)
        parts, mine = {_FITS: share.told()}, found.pop(share.number, None)
        with reading():
            sources = [_source(kept, name) for kept in ([mine] if mine else []) + list(found.values())]
            sources = [source for source in sources if source is not None]
            saved = _known(sources, share, racing)
        return parts if saved is None else {**parts, name: saved}

    digests = {each: (asked.get(each), table) for each, table in share.digests.items()}
    asked = {"number of fits": len(next(iter(share.digests.values()))), **asked, **digests}
    return Part(Keeper(dataclasses.replace(to, path=own), asked, known=known), name)


def path_of(path: Path, number: int) -> Path:
    """The file of a process: the first has the one that was named, each other one beside it."""
    return path.with_name(f"{path.name}.{number}") if number else path


def _known(sources: Sequence[Source], share: Share, racing: Racing | None) -> Snapshot | None:
    """What is known of the fits of a share; the first source is its own, if that is there."""
    chosen = choice(sources, share.first, share.size, racing)
    if sources and sources[0][:2] == share[:2] and (chosen <= 0).all():
        return sources[0].snapshot
    return merged(sources, chosen, share.first, racing) if (chosen >= 0).any() else None


def _source(kept: Kept, name: str) -> Source | None:
    if name not in kept.parts:
        return None
    header = kept.parts[_FITS].header
    return Source(int(header["first"]), int(header["size"]), kept.parts[name])


def _of_call(path: Path, asked: dict[str, str], share: Share) -> dict[int, Kept]:
    """The files of this call, by the number of the process that wrote each.

    Those that would be replaced, and those that belong to them by the number of processes that they tell, are refused
    if they are damaged or of another call. Others, whose names end in a number too, are let be.
    """
    found: dict[int, Kept] = {}
    refused: list[tuple[bool, DataError]] = []
    processes = share.processes
    for number, file in _files(path):
        expected = number < processes
        if not expected and not zipfile.is_zipfile(file):
            continue
        try:
            kept = read(file, file.read_bytes())
        except DataError:
            if expected:
                raise
            continue
        names = differing(kept.asked, asked)
        if not names:
            found[number] = kept
        elif expected:
            fits = _fits_that_differ(kept, names, share)
            told = [fits.get(name) or difference(name, kept.asked, asked) for name in names]
            refused.append((bool(fits), of_another_call(file, told)))
        else:
            continue
        if _FITS in kept.parts:
            processes = max(processes, int(kept.parts[_FITS].header["processes"]))
    if refused:  # best by what names a fit
        raise max(refused, key=lambda each: each[0])[1]
    return found


def _files(path: Path) -> list[tuple[int, Path]]:
    """The files of that name that there are, and the number of the process that each is of."""
    ending = re.compile(re.escape(path.name) + r"\.([1-9][0-9]*)")
    there = [(ending.fullmatch(file.name), file) for file in path.parent.iterdir()]
    found = [(int(match[1]), file) for match, file in there if match and file.is_file()]
    return sorted([(0, path), *found] if path.exists() else found)


def _fits_that_differ(kept: Kept, names: Sequence[str], share: Share) -> dict[str, str]:
    """Of the arguments that differ, those that do so in some fits of a file alone, in words."""
    found, before = {}, kept.parts.get(_FITS)
    for name in names:
        table = None if before is None else before.arrays.get(name)
        if table is None or before is None or name not in share.digests:
            continue
        first = int(before.header["first"])
        now = share.digests[name][first : first + len(table)]
        if now.shape != table.shape:
            continue
        fits = (np.flatnonzero((now != table).any(1)) + first).tolist()
        if 0 < len(fits) < len(table):
            listed = ", ".join(map(str, fits[:3])) + (", ..." if len(fits) > 3 else "")
            found[name] = f"another {name} of fit{'s' * (len(fits) > 1)} {listed}"
    return found
