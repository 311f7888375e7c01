"""What the files of `fit_many` are known by: a digest of each fit, and of what all have in common."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree, UInt8

from jaxem._many_rows import count_fits
from jaxem.engine.checkpoint import Part
from jaxem.engine.fingerprint import contents
from jaxem.engine.shares import Share, place_of_share
from jaxem.engine.trees import is_key


def place_of_all(
    checkpoint: Any, over: tuple[str, ...], given: dict[str, PyTree], asked: dict[str, Any]
) -> Part | None:
    """Where a process that makes all fits writes them down, with what is known of them."""
    if checkpoint is None or isinstance(checkpoint, Part):  # a part of another call's
        return checkpoint
    digests = digests_of_fits(over, given)
    place = place_of_fits(checkpoint, over, given, asked, Share(0, len(next(iter(digests.values()))), digests))
    keep(place)
    return place


def place_of_fits(
    checkpoint: Any, over: tuple[str, ...], given: dict[str, PyTree], asked: dict[str, Any], share: Share
) -> Part:
    """Where a process writes the fits of its `share` down, with what is known of them."""
    common = {
        name: eqx.filter(tree, eqx.is_array, inverse=True) if name in over else _as_computed(tree, name)
        for name, tree in given.items()
    }
    return place_of_share(checkpoint, "fit_many", {**asked, **common}, share, asked["racing"])


def keep(place: Part) -> None:
    """Write down at once what was put together from other files: these may be replaced now."""
    if place.saved is not None and place.layout is None:
        place.write(place.saved, place.saved.header["rounds"])


def digests_of_fits(over: tuple[str, ...], given: dict[str, PyTree]) -> dict[str, UInt8[np.ndarray, "fits 32"]]:
    """For each argument that fits have for themselves, a digest of what each fit has."""
    count = count_fits(over, given)
    return {name: _digests(_as_computed(given[name], name), count) for name in over}


def _digests(tree: PyTree, count: int) -> UInt8[np.ndarray, "fits 32"]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]
    told = [bytes.fromhex(contents([leaf[i] for leaf in leaves])) for i in range(count)]
    return np.frombuffer(b"".join(told), np.uint8).reshape(count, -1)


def _as_computed(tree: PyTree, name: str) -> PyTree:
    """Arrays on the host, the same wherever they lay: in the precision that JAX computes in, weights no integers."""

    def one(leaf: Any) -> Any:
        if not eqx.is_array(leaf) or is_key(leaf):
            return leaf
        wanted = np.dtype(float) if name == "weights" and leaf.dtype.kind in "iub" else leaf.dtype
        return np.asarray(leaf).astype(jax.dtypes.canonicalize_dtype(wanted), copy=False)

    return jax.tree.map(one, tree)
