"""The file that a search is written to on its way, and what belongs in it."""

import dataclasses
import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxem._errors import DataError
from jaxem.engine.fingerprint import contents
from jaxem.engine.processes import is_shared, of_first

_FORMAT = 3


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where, and how often, a fit is written down so that the same call goes on from there.

    **Arguments:**

    - `path`: the file. It is replaced as a whole, and holds the runs in their lanes, not the data: kilobytes for most
        models. It stays after the fit; remove it once the result is kept. Of fits that several processes share out
        (`jaxem.fit_many`), process `i` has a file whose name ends in `.i`.
    - `seconds`: the least time between two writes. What was computed since the last one is computed again.
    - `rounds`: if given, write after so many rounds too (of 8 to 16 iterations each, or up to 64 of small tables, of
        all lanes of a group).

    **Raises:** `DataError` for a path that cannot be written, seconds that are negative, rounds below 1.

    **Example**

    >>> import jax, jaxem, tempfile
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> path = tempfile.mkdtemp() + "/geyser.checkpoint"
    >>> checkpoint = jaxem.Checkpoint(path, seconds=60)
    >>> first, again = (
    ...     jaxem.fit(jaxem.GaussianMixture(2), x, key=jax.random.key(0), restarts=4, checkpoint=checkpoint)
    ...     for _ in range(2)
    ... )
    >>> bool(first.objective == again.objective)  # read, not computed again
    True
    """

    path: str | os.PathLike
    seconds: float = 30.0
    rounds: int | None = None

    def __post_init__(self):
        if not isinstance(self.path, str | os.PathLike):
            raise DataError(f"checkpoint must be a path or a jaxem.Checkpoint, got {self.path!r}")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not self.seconds >= 0:
            raise DataError(f"seconds of a checkpoint must be at least 0, got {self.seconds!r}")
        if self.rounds is not None and (isinstance(self.rounds, bool) or self.rounds < 1):
            raise DataError(f"rounds of a checkpoint must be at least 1, got {self.rounds!r}")
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise DataError(f"checkpoint: there is no folder {folder}: make it, or give another path")
        if Path(self.path).is_dir():
            raise DataError(f"checkpoint: {self.path} is a folder: give the path of a file")
        if not os.access(folder, os.W_OK):
            raise DataError(f"checkpoint: the folder {folder} cannot be written to: give another path")


class Snapshot(NamedTuple):
    """A search at a moment: arrays by name, and what JSON can hold."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Kept(NamedTuple):
    """What a file holds: what its call asked for, as `told` has it, and the snapshot of each part."""

    asked: dict[str, str]
    parts: dict[str, Snapshot]


class Keeper:
    """Writes the snapshots of one call, and has those that an earlier one of the same call left.

    Of processes that share data the first one reads and writes, for all.

    **Arguments:**

    - `checkpoint`: a path, or a `Checkpoint`.
    - `asked`: the arguments that the result depends on, by name.
    - `together`: whether processes share the rows, if none of these arguments shows it.
    - `known`: what finds the parts that are known, given what is asked for; by default those in the file.
    """

    def __init__(
        self,
        checkpoint: Any,
        asked: dict[str, Any],
        together: bool = False,
        known: Callable[[dict[str, str]], dict[str, Snapshot]] | None = None,
    ):
        self._to = as_checkpoint(checkpoint)
        self._path, self._asked = Path(self._to.path), told(asked)
        self._shared = together or is_shared(asked)
        self._parts = (known or self._of_file)(self._asked)
        self._written, self._rounds = time.monotonic(), dict[str, int]()

    def saved(self, part: str) -> Snapshot | None:
        """What is known of a part: of one of the searches that the call makes."""
        return self._parts.get(part)

    def due(self, part: str, rounds: int) -> bool:
        """Whether it is time to write, after so many rounds of a search."""
        since = rounds - self._rounds.get(part, 0)
        often = self._to.rounds is not None and since >= self._to.rounds
        return often or (time.monotonic() - self._written >= self._to.seconds and since > 0)

    def write(self, part: str, snapshot: Snapshot, rounds: int) -> None:
        """Replace the file by one with this snapshot, and those of other parts."""
        self._parts[part] = snapshot
        header = {
            "format": _FORMAT,
            "asked": self._asked,
            "parts": {name: each.header for name, each in self._parts.items()},
        }
        arrays = {f"{name}:{key}": a for name, each in self._parts.items() for key, a in each.arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
        if not self._shared or jax.process_index() == 0:
            _replace(self._path, buffer.getbuffer())
        self._written, self._rounds[part] = time.monotonic(), rounds

    def _of_file(self, asked: dict[str, str]) -> dict[str, Snapshot]:
        content = self._path.read_bytes() if self._path.exists() else None
        if self._shared:
            content = of_first(content)
        if content is None:
            return {}
        kept = read(self._path, content)
        names = differing(kept.asked, asked)
        if names:
            raise of_another_call(self._path, [difference(name, kept.asked, asked) for name in names])
        return kept.parts


def as_checkpoint(checkpoint: Any) -> Checkpoint:
    """What a path alone stands for."""
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def read(path: Path, content: bytes) -> Kept:
    """What a file holds; `DataError` if it is no whole file of this version."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file.items())
        header = json.loads(arrays.pop("header").tobytes())
        known, asked, parts = header["format"], header["asked"], header["parts"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"checkpoint: {path} is not a checkpoint of jaxem, or is damaged ({error}): remove it, or give another path"
        ) from None
    if known != _FORMAT:
        raise DataError(f"checkpoint: {path} has format {known}, this version reads {_FORMAT}")
    own: dict[str, dict[str, np.ndarray]] = {name: {} for name in parts}
    for key, array in arrays.items():
        name, _, rest = key.rpartition(":")
        own[name][rest] = array
    return Kept(asked, {name: Snapshot(parts[name], own[name]) for name in parts})


def told(asked: dict[str, Any]) -> dict[str, str]:
    """What a call asks for, as text that can be compared: numbers and names as they are, all else by a digest."""
    versions = {f"version of {package}": version(package) for package in ("jaxem", "jax")}
    return {name: _told(value) for name, value in {**asked, **versions}.items()}


def differing(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The names of what two calls ask for otherwise."""
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def difference(name: str, before: dict[str, str], now: dict[str, str]) -> str:
    """How they differ in what has this name."""
    values = [call.get(name) for call in (before, now)]
    if any(value is None or value.startswith("sha256:") for value in values):
        return f"another {name}"
    return f"{name} was {values[0]} and is {values[1]}"


def of_another_call(path: Path, differences: Sequence[str]) -> DataError:
    """What refuses a file."""
    return DataError(
        f"checkpoint: {path} belongs to another call ({', '.join(differences)}): remove the file, or give another path"
    )


class Part(NamedTuple):
    """The place of one search in the file of a call."""

    keeper: Keeper
    name: str

    @property
    def saved(self) -> Snapshot | None:
        return self.keeper.saved(self.name)

    @property
    def layout(self) -> tuple[int, int] | None:
        """How the runs of the search lie in lanes; `None` if none has been begun that goes on."""
        saved = self.saved
        return None if saved is None or saved.header["layout"] is None else tuple(saved.header["layout"])

    def due(self, rounds: int) -> bool:
        return self.keeper.due(self.name, rounds)

    def write(self, snapshot: Snapshot, rounds: int) -> None:
        self.keeper.write(self.name, snapshot, rounds)


def part_of(checkpoint: Any, name: str, asked: dict[str, Any], together: bool = False) -> Part | None:
    """The place of the one search of a call, `None` without a checkpoint; a `Part` is that place already."""
    if checkpoint is None or isinstance(checkpoint, Part):
        return checkpoint
    return Part(Keeper(checkpoint, asked, together), name)


def _told(value: Any) -> str:
    """A number or name as it is, anything else by its contents."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return f"sha256:{contents(value)}"


def _replace(path: Path, content: Any) -> None:
    """Write a file as a whole or not at all, whenever the process is killed."""
    beside = path.with_name(f".{path.name}.writing")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    with suppress(OSError):  # not every system can write down a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
