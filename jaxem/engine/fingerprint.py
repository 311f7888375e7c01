"""What tells one compiled program from another without tracing it: a digest of what it is compiled for, and where."""

import dataclasses
import enum
import functools
import hashlib
import inspect
import os
import platform
import types
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.backend import get_backend

from jaxem.engine.processes import gathered, is_shared, own_numbers, own_rows
from jaxem.engine.spread import is_spread
from jaxem.engine.trees import is_key

_ROWS = 2**14  # that are digested at a time

# Packages whose code is known by their version, this one's by a digest of its source.
_KNOWN = {"builtins", "jaxem", "jax", "jaxlib", "jaxtyping", "equinox", "lineax", "optax", "numpy", "functools", "enum"}
_PACKAGES = ("jax", "jaxlib", "equinox", "lineax", "optax", "numpy")
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_softmax_custom_jvp",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_use_shardy_partitioner",
)


class _Unknown(Exception):
    """Something that has no name which another process would know it by."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of an array in a tree: what is known of it when a program is compiled."""

    shape: tuple[int, ...]
    dtype: Any
    weak_type: bool

    @staticmethod
    def of(array: Any) -> "Slot":
        return Slot(array.shape, array.dtype, getattr(array, "weak_type", False))


def fingerprint(*things: Any) -> str | None:
    """A digest of these by qualified names and values, arrays among them included, and of the environment.

    `None` where something has no name that another process would know it by: a function or class that is not of this
    package or of those it stands on.
    """
    digest = hashlib.sha256(_environment(settings()).encode())
    try:
        return _digest(digest, _parts(_name, things))
    except _Unknown:
        return None


def contents(*things: Any) -> str:
    """A digest of these by names and values alone; of what another package or a user wrote, by its source."""
    return _digest(hashlib.sha256(), _parts(_name_and_source, things))


def _digest(digest: Any, parts: Iterable[str]) -> str:
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def settings() -> tuple[str, ...]:
    """Settings of JAX and of XLA that change what is compiled."""
    found = [f"{name}={getattr(jax.config, name, None)}" for name in _SETTINGS]
    return (*found, f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}")


def _parts(name: Callable[[Any], str], thing: Any) -> Iterable[str]:
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        yield f"{type(thing).__name__}:{thing!r}"
    elif isinstance(thing, Slot | jax.ShapeDtypeStruct):
        yield f"slot:{thing.dtype}{thing.shape}{thing.weak_type}"
    elif isinstance(thing, jax.Array | np.ndarray | np.generic):
        yield f"array:{thing.dtype}{thing.shape}{_contents(thing)}"
    elif isinstance(thing, np.dtype):
        yield f"dtype:{thing}"
    elif isinstance(thing, enum.Enum):
        yield f"{name(type(thing))}.{thing.name}"
    elif isinstance(thing, type):
        yield f"class:{name(thing)}"
    elif isinstance(thing, functools.partial):
        yield from (
            "partial(",
            *_parts(name, thing.func),
            *_parts(name, thing.args),
            *_parts(name, thing.keywords),
            ")",
        )
    elif isinstance(thing, types.MethodType):
        yield from ("method(", thing.__name__, *_parts(name, thing.__self__), ")")
    elif isinstance(thing, types.FunctionType):
        yield from _function(name, thing)
    elif isinstance(thing, types.BuiltinFunctionType | np.ufunc):
        yield f"builtin:{getattr(thing, '__module__', '')}.{thing.__name__}"
    elif isinstance(thing, dict):
        yield f"{name(type(thing))}{{"
        for key, value in thing.items():
            yield from (*_parts(name, key), *_parts(name, value))
        yield "}"
    elif isinstance(thing, tuple | list | frozenset | set):
        entries = sorted(thing, key=repr) if isinstance(thing, frozenset | set) else thing
        yield f"{name(type(thing))}("
        for entry in entries:
            yield from _parts(name, entry)
        yield ")"
    elif dataclasses.is_dataclass(thing):
        yield f"{name(type(thing))}("
        for field in dataclasses.fields(thing):
            yield from (field.name, *_parts(name, getattr(thing, field.name, None)))
        yield ")"
    elif callable(thing) and hasattr(thing, "__wrapped__"):
        inner: Any = thing
        yield from ("wrapped:", name(type(thing)), *_parts(name, inner.__wrapped__))
    elif name is _name:
        raise _Unknown(repr(thing))
    else:
        yield f"{name(type(thing))}("
        yield from (*_parts(name, vars(thing) if hasattr(thing, "__dict__") else repr(thing)), ")")


def _function(name: Callable[[Any], str], fn: types.FunctionType) -> Iterable[str]:
    """A function by its name, and what it closes over."""
    yield f"function:{name(fn)}:{fn.__code__.co_firstlineno}("
    yield from _parts(name, fn.__defaults__)
    yield from _parts(name, fn.__kwdefaults__)
    for cell in fn.__closure__ or ():
        yield from _parts(name, cell.cell_contents)
    yield ")"


def _name(thing: Any) -> str:
    module = thing.__module__
    if module.partition(".")[0] not in _KNOWN:
        raise _Unknown(f"{module}.{thing.__qualname__}")
    return f"{module}.{thing.__qualname__}"


def _name_and_source(thing: Any) -> str:
    try:
        return _name(thing)
    except _Unknown as unknown:
        try:
            return f"{unknown}:{inspect.getsource(thing)}"
        except (OSError, TypeError):  # typed at a prompt
            return f"{unknown}:{getattr(getattr(thing, '__code__', None), 'co_code', b'').hex()}"


def _contents(array: Any) -> str:
    if is_spread(array):
        return _contents_of_rows(array)
    numbers = np.ascontiguousarray(jax.random.key_data(array) if is_key(array) else array)
    return hashlib.sha256(numbers.reshape(-1).view(np.uint8).data).hexdigest()


def _contents_of_rows(array: jax.Array) -> str:
    """A digest of numbered rows that is the same however they lie on devices and processes."""
    total = sum_of_rows((own_numbers(array), own_rows(array)))
    return str((gathered(total).sum(0, dtype=np.uint64) if is_shared(array) else total).tolist())


def sum_of_rows(rows: Any) -> np.ndarray:
    """Two sums, modulo 2^64, of digests of rows: those of parts of a table add up to its own. They guard no secret."""
    leaves = jax.tree.leaves(rows)
    total = np.zeros(2, np.uint64)
    for first in range(0, len(leaves[0]), _ROWS):
        parts = [np.ascontiguousarray(leaf[first : first + _ROWS]) for leaf in leaves]
        words = np.concatenate([part.reshape(len(part), -1).view(np.uint8) for part in parts], 1)
        words = np.ascontiguousarray(np.pad(words, ((0, 0), (0, -words.shape[1] % 8)))).view(np.uint64)
        for seed in range(2):
            factors = np.random.default_rng(seed).integers(1, 2**64, words.shape[1], np.uint64, endpoint=False) | 1
            mixed = (_mixed(words + factors) * factors).sum(1, dtype=np.uint64)
            total[seed] += _mixed(mixed).sum(dtype=np.uint64)
    return total


def _mixed(words: np.ndarray) -> np.ndarray:
    """Each number as one of which every bit depends on all of its own (the finalizer of Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@cache
def _environment(given: tuple[str, ...]) -> str:
    """Versions, this package's source, the machine, and the settings `given`."""
    backend = get_backend()
    devices = [f"{device.platform}:{device.device_kind}" for device in jax.devices()]
    parts = [f"{package} {version(package)}" for package in _PACKAGES]
    return "\n".join(
        [
            *parts,
            source(),
            backend.platform,
            backend.platform_version,
            *devices,
            platform.machine(),
            _features(),
            *given,
        ]
    )


@cache
def source() -> str:
    """A digest of the source of this package."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _features() -> str:
    """The instructions that this machine's processor knows, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
