"""Compiled programs kept on disk from one process to the next."""

import contextlib
import hashlib
import os
import pickle
import stat
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax
import platformdirs
from jax.experimental.compilation_cache import compilation_cache

_MAGIC = b"jaxem program 1\n"
_MOST_BYTES = 2**30
_OFF = ("off", "0", "no", "false")


class Store:
    """A private folder of programs, the oldest of which go when it grows too large."""

    def __init__(self, folder: Path, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes

    def load(self, key: str) -> Any:
        """What was stored under `key`; `None` if there is nothing, or nothing that can be read."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        head = len(_MAGIC) + 32
        body = content[head:]
        if content[: len(_MAGIC)] != _MAGIC or content[len(_MAGIC) : head] != hashlib.sha256(body).digest():
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        try:
            return pickle.loads(body)
        except Exception:  # of another version of a package, say: it is compiled again
            return None

    def save(self, key: str, thing: Any) -> None:
        """Keep it under `key`, whole or not at all; a folder that cannot be written to keeps nothing."""
        try:
            body = pickle.dumps(thing)
        except Exception:  # a class or function without a place of its own
            return
        content = _MAGIC + hashlib.sha256(body).digest() + body
        if len(content) > self.max_bytes:
            return
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                os.replace(name, self._path(key))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self.trim()

    def trim(self) -> None:
        """Remove what was used longest ago, as far as the folder is too large."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found, key=lambda entry: entry[0]):
            if total <= self.max_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.program"


_store: Store | None = None


def cache(
    folder: str | os.PathLike | None = None, *, enabled: bool = True, max_bytes: int = _MOST_BYTES
) -> Path | None:
    """Keep compiled programs on disk, so that another process need not compile them; returns the folder.

    Two kinds: the programs of `fit`, which are found without being traced, and JAX's own cache for everything else
    (`jax_compilation_cache_dir`, with a least time of 0), unless that is set already. A program is known by the
    versions of jaxem and JAX, the processor, settings, the shapes of the data and the specification of the model and
    algorithm. One that holds functions or classes of yours goes to JAX's cache alone, which traces first.

    The folder is readable by you alone, and refused where others can write to it: to load a program is to run it.
    Entries that are damaged are compiled again. The command line has it on; see `JAXEM_CACHE` there.

    **Arguments:**

    - `folder`: where; by default `JAXEM_CACHE_DIR`, or the user's folder for caches.
    - `enabled`: `False` stops it for this process.
    - `max_bytes`: how large either folder may grow; what was used longest ago goes first.

    **Raises:** `PermissionError` for a folder that others can write to, or that belongs to another.

    **Example**

    >>> import tempfile, jaxem
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(jaxem.cache(folder).name)
    ...     jaxem.cache(enabled=False)
    programs
    """
    global _store
    _store = None
    _jax_as_before()
    if not enabled:
        return None
    chosen = folder or os.environ.get("JAXEM_CACHE_DIR") or platformdirs.user_cache_dir("jaxem", appauthor=False)
    root = _private(Path(chosen).expanduser().absolute())
    programs = _private(root / "programs")
    if not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        others = _private(root / "jax")
        Store(others, max_bytes).trim()  # JAX's own bound needs another package
        _set(
            jax_compilation_cache_dir=str(others),
            jax_persistent_cache_min_compile_time_secs=0.0,
            jax_persistent_cache_min_entry_size_bytes=-1,
        )
    _store = Store(programs, max_bytes)
    return programs


_before: dict[str, Any] = {}  # settings of JAX that were changed


def _set(**settings: Any) -> None:
    """Change settings of JAX's cache, and have it look at them: it does so only once by itself."""
    for name, value in settings.items():
        _before.setdefault(name, getattr(jax.config, name))
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def _jax_as_before() -> None:
    if _before:
        for name, value in _before.items():
            jax.config.update(name, value)
        _before.clear()
        compilation_cache.reset_cache()


def use_by_default() -> None:
    """The cache of the command line: on unless `JAXEM_CACHE` is `off`; a folder that will not do is a warning."""
    if os.environ.get("JAXEM_CACHE", "").lower() in _OFF:
        return
    try:
        cache()
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=2)


def store() -> Store | None:
    """Where programs are kept, if they are."""
    return _store


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise PermissionError(
            f"{folder} belongs to another user, or others can write to it: programs are loaded from it; "
            "choose another folder, or take the right to write from others (chmod 700)"
        )
    return folder
