"""A program of arrays alone, which can be kept in memory and on disk, and what puts its result together again."""

import contextlib
import ctypes
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.experimental import serialize_executable
from jaxtyping import PyTree

from jaxem.engine.cache import Store
from jaxem.engine.fingerprint import Slot, fingerprint, settings


class Signature(NamedTuple):
    """What a program is compiled for: all that is no array, and the shapes and types of the arrays."""

    kind: Any
    slots: tuple[Slot, ...]


class Arguments:
    """Arguments of a program, taken apart once."""

    def __init__(self, args: tuple[Any, ...]):
        self.leaves, self.structure = jax.tree.flatten(args)
        self.arrays = [leaf for leaf in self.leaves if eqx.is_array(leaf)]

    def may_be_kept(self) -> bool:
        """Whether the program is one of its own, on the device that JAX chooses."""
        config: Any = jax.config
        if config.jax_disable_jit or config.jax_default_device is not None:
            return False
        return not any(isinstance(leaf, Tracer) or getattr(leaf, "committed", False) for leaf in self.arrays)

    def slots(self) -> list[Any]:
        """The leaves, with what is known of arrays in their place."""
        return [Slot.of(leaf) if eqx.is_array(leaf) else leaf for leaf in self.leaves]

    def signature(self) -> "Signature":
        """What tells one program from another within this process."""
        rest = tuple(None if eqx.is_array(leaf) else leaf for leaf in self.leaves)
        return Signature((rest, self.structure, settings()), tuple(map(Slot.of, self.arrays)))

    def described(self) -> PyTree:
        """The arguments, with what is known of arrays in their place."""
        return jax.tree.unflatten(self.structure, self.slots())


class Kept:
    """A compiled program for arguments of certain shapes; `shapes` has `jax.ShapeDtypeStruct` for arrays it returns."""

    def __init__(self, executable: Any, shapes: PyTree):
        self.executable, self.shapes = executable, shapes
        self._leaves, self._structure = jax.tree.flatten(shapes)

    def __call__(self, arguments: Arguments) -> Any:
        found = iter(self.executable(*arguments.arrays))
        leaves = [next(found) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf for leaf in self._leaves]
        return jax.tree.unflatten(self._structure, leaves)


class Shelf:
    """The programs of this process: of those that differ in shapes alone the `shapes` latest, and `total` of all.

    Each takes some hundred kilobytes and some of the memory maps that an operating system allows a process.
    """

    def __init__(self, shapes: int = 4, total: int = 256):
        self._shapes, self._total, self._lock = shapes, total, threading.Lock()
        self._programs: OrderedDict[tuple[Any, Signature], Kept] = OrderedDict()  # the latest last

    def __len__(self) -> int:
        return len(self._programs)

    def find(self, owner: Any, signature: Signature) -> Kept | None:
        with self._lock:
            found = self._programs.get((owner, signature))
            if found is not None:
                self._programs.move_to_end((owner, signature))
            return found

    def keep(self, owner: Any, signature: Signature, program: Kept) -> None:
        with self._lock:
            self._programs[owner, signature] = program
            self._programs.move_to_end((owner, signature))
            alike = [key for key in self._programs if key[0] == owner and key[1].kind == signature.kind]
            surplus = alike[: -self._shapes] or list(self._programs)[: -self._total]
            for key in surplus:
                del self._programs[key]
        if surplus:
            _trim()


class Traced(NamedTuple):
    """A program that is yet to be compiled."""

    lowered: Any
    shapes: PyTree

    def compile(self, options: dict[str, Any]) -> Kept:
        return Kept(self.lowered.compile(compiler_options=options), self.shapes)


def name_of(fn: Callable, arguments: Arguments, options: Any) -> str | None:
    """What the program is known by on disk; `None` if it is not to be kept there."""
    return fingerprint(fn, arguments.described(), options)


def trace(fn: Callable, arguments: Arguments, *, to_keep: bool) -> Traced:
    """The program of `fn` for such arguments, which is `to_keep` on disk or not."""
    told: dict[str, Any] = {}

    def flat(*arrays: Any) -> list[Any]:
        given = iter(arrays)
        leaves = [next(given) if eqx.is_array(leaf) else leaf for leaf in arguments.leaves]
        out = fn(*jax.tree.unflatten(arguments.structure, leaves))
        found, told["rest"] = eqx.partition(out, eqx.is_array)
        leaves_out, told["structure"] = jax.tree.flatten(found)
        return leaves_out

    flat.__name__ = getattr(fn, "__name__", "program")
    if to_keep:
        # A name of its own, by which JAX's cache never finds the program: what has been loaded cannot be written down
        # again (XLA on a CPU leaves out some of its functions, "... not found" where it is run).
        flat.__name__ += f"_{uuid.uuid4().hex}"
    lowered = jax.jit(flat).lower(*arguments.arrays)
    infos = [jax.ShapeDtypeStruct(info.shape, info.dtype) for info in lowered.out_info]
    return Traced(lowered, eqx.combine(jax.tree.unflatten(told["structure"], infos), told["rest"]))


class Written(NamedTuple):
    """A program as it is on disk."""

    payload: bytes
    in_tree: Any
    out_tree: Any
    shapes: PyTree

    def load(self) -> Kept | None:
        """The program, if it can be used here."""
        try:
            _find_lapack()
            *parts, shapes = self
            devices = jax.local_devices()[:1]
            return Kept(serialize_executable.deserialize_and_load(*parts, execution_devices=devices), shapes)
        except Exception:  # whatever it is about another version: it is compiled again
            return None


def read(store: Store, name: str) -> Written | None:
    """The program of this name, if it is on disk."""
    found = store.load(name)
    if isinstance(found, tuple) and len(found) == 4 and isinstance(found[1], jax.tree_util.PyTreeDef):
        return Written(*found)
    return None


def save(store: Store, name: str, program: Kept) -> None:
    """Keep a program; one that cannot be written down, for whatever reason, is not kept."""
    with contextlib.suppress(Exception):
        store.save(name, (*serialize_executable.serialize(program.executable), program.shapes))


def result_shapes(fn: Callable, args: tuple[Any, ...], store: Store | None) -> PyTree:
    """`eqx.filter_eval_shape(fn, *args)`, which a store remembers."""
    arguments = Arguments(args)
    name = name_of(fn, arguments, "shapes") if store is not None and arguments.may_be_kept() else None
    if store is None or name is None:
        return eqx.filter_eval_shape(fn, *args)
    found = store.load(name)
    if found is None:
        found = eqx.filter_eval_shape(fn, *args)
        store.save(name, found)
    return found


def _trim() -> None:
    """Give back what compilations have left free: glibc keeps it, some 20 MB for each kind of fit."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _find_lapack() -> None:
    """A program that was loaded calls LAPACK without having looked it up, as one that is compiled has."""
    from jaxlib import lapack

    lapack.prepare_lapack_call("potrf_ffi", np.dtype(np.float32))
