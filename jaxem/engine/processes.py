"""What processes that compute together have to agree on: each has rows of its own, and sees no others.

Every one of them runs the same calls in the same order; what is here waits for all.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from jaxem._errors import DataError, FitError, MissingCapabilityError

T = TypeVar("T")
_KINDS = {kind.__name__: kind for kind in (DataError, FitError, MissingCapabilityError)}


def is_shared(tree: PyTree) -> bool:
    """Whether an array lies with several processes, some of it with each."""
    return any(map(_is_shared, jax.tree.leaves(tree)))


def _is_shared(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array) or isinstance(leaf, Tracer):
        return False
    return not leaf.is_fully_addressable and not leaf.is_fully_replicated


def own_rows(tree: PyTree) -> PyTree:
    """The rows that lie with this process, in their order, on the host."""
    return jax.tree.map(lambda leaf: np.concatenate([np.asarray(part) for _, part in _parts(leaf)]), tree)


def whole(tree: PyTree) -> PyTree:
    """What lies with several processes, as every one of them can read it."""
    if not is_shared(tree):
        return tree
    return jax.tree.map(
        lambda leaf: multihost_utils.process_allgather(leaf, tiled=True) if _is_shared(leaf) else leaf, tree
    )


def own_numbers(leaf: jax.Array) -> np.ndarray:
    """The numbers of those rows among all."""
    return np.concatenate([np.arange(first, first + part.shape[0]) for first, part in _parts(leaf)])


def _parts(leaf: jax.Array) -> list[tuple[int, jax.Array]]:
    """The first row of each part on a device of this process, and the part, where it lies."""
    found: dict[int, Any] = {}
    for shard in leaf.addressable_shards:
        if shard.data.shape[1:] != leaf.shape[1:]:
            raise DataError(
                f"data of shape {leaf.shape} lie in parts of shape {shard.data.shape}: spread rows over devices, not "
                "columns"
            )
        found.setdefault(shard.index[0].start or 0, shard.data)
    return sorted(found.items(), key=lambda part: part[0])


def gathered(values: np.ndarray) -> np.ndarray:
    """The array that every process has, all of one shape: `[processes, ...]`."""
    values = np.ascontiguousarray(values)
    if not values.size:
        return np.zeros((jax.process_count(), *values.shape), values.dtype)
    bits = values.reshape(-1).view(np.uint8)  # which no precision of JAX's own rounds
    told = np.asarray(multihost_utils.process_allgather(bits)).astype(np.uint8).reshape(jax.process_count(), -1)
    return np.ascontiguousarray(told).view(values.dtype).reshape(jax.process_count(), *values.shape)


def gathered_trees(tree: PyTree) -> list[PyTree]:
    """The tree of every process, all of the same shapes, on the host."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    parts = [np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves]
    told = gathered(np.concatenate(parts))
    ends = np.cumsum([part.size for part in parts])

    def of(each: np.ndarray) -> PyTree:
        own = zip(np.split(each, ends[:-1]), leaves, strict=True)
        return jax.tree.unflatten(structure, [part.copy().view(a.dtype).reshape(a.shape) for part, a in own])

    return [of(each) for each in told]


def joined_rows(tree: PyTree) -> PyTree:
    """The rows of all processes, which may have different numbers of them, one after the other; on the host."""
    n = jax.tree.leaves(tree)[0].shape[0]
    lengths = gathered(np.asarray([n], np.int64))[:, 0]
    index = np.minimum(np.arange(int(lengths.max())), max(n - 1, 0))

    def padded(leaf: np.ndarray) -> np.ndarray:
        return leaf[index] if n else np.zeros((len(index), *leaf.shape[1:]), leaf.dtype)

    told = gathered_trees(jax.tree.map(padded, tree))
    own = [jax.tree.map(lambda leaf: leaf[:length], each) for each, length in zip(told, lengths, strict=True)]  # noqa: B023
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *own)


def any_of(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is true in any process."""
    told = gathered(np.asarray(flags, bool))
    return tuple(bool(told[:, i].any()) for i in range(len(flags)))


def agreed(call: Callable[[], T]) -> T:
    """What `call` returns. Where it raises in one process all raise, and say in which process that was."""
    own: Exception | None = None
    found: Any = None
    try:
        found = call()
    except Exception as error:
        own = error
    told = texts(f"{type(own).__name__}:{own}".encode() if own else b"")
    if not any(told):
        return found
    number = next(i for i, text in enumerate(told) if text)
    kind, _, message = told[number].decode().partition(":")
    raise _KINDS.get(kind, RuntimeError)(f"process {number}: {message}") from own


def require_alike(name: str, own: str) -> None:
    """Raise `DataError`, in all processes, unless what each has to say is the same."""
    told = [text.decode() for text in texts(own.encode())]
    for number, text in enumerate(told):
        if text != told[0]:
            raise DataError(f"process {number} has {name} that are {text}, process 0 {told[0]}")


def texts(own: bytes) -> list[bytes]:
    """What each process has to say."""
    lengths = gathered(np.asarray([len(own)], np.int64))[:, 0]
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    return [each[:length].tobytes() for each, length in zip(gathered(padded), lengths, strict=True)]


def of_first(content: bytes | None) -> bytes | None:
    """What the first process has."""
    own = b"" if content is None else b"1" + content
    found = texts(own if jax.process_index() == 0 else b"")[0]
    return found[1:] if found else None
