"""What tells one compiled program from another without tracing it: a digest of what it is compiled for, and where."""

import dataclasses
import enum
import functools
import hashlib
import os
import platform
import types
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.backend import get_backend

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
        for part in _parts(things):
            digest.update(part.encode())
            digest.update(b"\0")
    except _Unknown:
        return None
    return digest.hexdigest()


def settings() -> tuple[str, ...]:
    """Settings of JAX and of XLA that change what is compiled."""
    found = [f"{name}={getattr(jax.config, name, None)}" for name in _SETTINGS]
    return (*found, f"XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}")


def _parts(thing: Any) -> Iterable[str]:
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        yield f"{type(thing).__name__}:{thing!r}"
    elif isinstance(thing, Slot | jax.ShapeDtypeStruct):
        yield f"slot:{thing.dtype}{thing.shape}{thing.weak_type}"
    elif isinstance(thing, jax.Array | np.ndarray | np.generic):
        yield f"array:{thing.dtype}{thing.shape}{hashlib.sha256(np.asarray(thing).tobytes()).hexdigest()}"
    elif isinstance(thing, np.dtype):
        yield f"dtype:{thing}"
    elif isinstance(thing, enum.Enum):
        yield f"{_name(type(thing))}.{thing.name}"
    elif isinstance(thing, type):
        yield f"class:{_name(thing)}"
    elif isinstance(thing, functools.partial):
        yield from ("partial(", *_parts(thing.func), *_parts(thing.args), *_parts(thing.keywords), ")")
    elif isinstance(thing, types.MethodType):
        yield from ("method(", thing.__name__, *_parts(thing.__self__), ")")
    elif isinstance(thing, types.FunctionType):
        yield from _function(thing)
    elif isinstance(thing, types.BuiltinFunctionType | np.ufunc):
        yield f"builtin:{getattr(thing, '__module__', '')}.{thing.__name__}"
    elif isinstance(thing, dict):
        yield f"{_name(type(thing))}{{"
        for key, value in thing.items():
            yield from (*_parts(key), *_parts(value))
        yield "}"
    elif isinstance(thing, tuple | list | frozenset | set):
        entries = sorted(thing, key=repr) if isinstance(thing, frozenset | set) else thing
        yield f"{_name(type(thing))}("
        for entry in entries:
            yield from _parts(entry)
        yield ")"
    elif dataclasses.is_dataclass(thing):
        yield f"{_name(type(thing))}("
        for field in dataclasses.fields(thing):
            yield from (field.name, *_parts(getattr(thing, field.name, None)))
        yield ")"
    elif callable(thing) and hasattr(thing, "__wrapped__"):
        inner: Any = thing
        yield from ("wrapped:", _name(type(thing)), *_parts(inner.__wrapped__))
    else:
        raise _Unknown(repr(thing))


def _function(fn: types.FunctionType) -> Iterable[str]:
    """A function by its name, and what it closes over."""
    yield f"function:{_name(fn)}:{fn.__code__.co_firstlineno}("
    yield from _parts(fn.__defaults__)
    yield from _parts(fn.__kwdefaults__)
    for cell in fn.__closure__ or ():
        yield from _parts(cell.cell_contents)
    yield ")"


def _name(thing: Any) -> str:
    module = thing.__module__
    if module.partition(".")[0] not in _KNOWN:
        raise _Unknown(f"{module}.{thing.__qualname__}")
    return f"{module}.{thing.__qualname__}"


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
