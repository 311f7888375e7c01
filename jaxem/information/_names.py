"""Names of parameters and of parts of them, and what their domains say of bounds and scales."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._paths import leaf_name

# What rests on less than so many complete rows, squared, lies on its bound.
_ROWS = 0.01


def leaves_of(params: PyTree) -> list[tuple[str, np.ndarray]]:
    """Names and values of the parameters, in the order of `ravel_pytree`."""
    return [(leaf_name(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]


def split_like(params: PyTree, flat: np.ndarray) -> list[np.ndarray]:
    """`flat` in parts of the shapes of the parameters."""
    shapes = [values.shape for _, values in leaves_of(params)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]


def names_of(params: PyTree, chosen: np.ndarray) -> tuple[str, ...]:
    """What is `chosen` of all numbers, by names: of a whole parameter, of its members, or else of single entries."""
    names: list[str] = []
    for (name, _), part in zip(leaves_of(params), split_like(params, chosen), strict=True):
        names.extend((name or "params") + index for index in _indices(part))
    return tuple(names)


def is_named(names: tuple[str, ...], name: str, index: tuple[int, ...]) -> bool:
    """Whether `names`, which `names_of` made, have an entry of the leaf `name`."""
    whole = name or "params"
    shown = {whole, f"{whole}[{', '.join(map(str, index))}]"} | ({f"{whole}[{index[0]}]"} if index else set())
    return not shown.isdisjoint(names)


def _indices(chosen: np.ndarray) -> list[str]:
    if not chosen.any():
        return []
    if chosen.all():
        return [""]
    whole = np.all(chosen.reshape(len(chosen), -1), axis=1).tolist()
    found = [f"[{i}]" for i in np.flatnonzero(whole)]
    entries: list[list[int]] = np.argwhere(chosen).tolist()
    return found + [f"[{', '.join(map(str, at))}]" for at in entries if not whole[at[0]]]


def at_bound(model: Any, params: PyTree, complete: np.ndarray) -> np.ndarray:
    """Which numbers lie on a bound of their domain, given their standard errors from complete data, `[m]`.

    Those that are there exactly, and those which not even complete data would tell from it.
    """
    found = []
    trainable = jax.tree.leaves(model.trainable(params))
    for (name, values), errors, free in zip(leaves_of(params), split_like(params, complete), trainable, strict=True):
        domain = model.domains.get(name, "real")
        room = {"positive": values, "nonnegative": values, "unit": values * (1 - values)}
        room["simplex"] = room["unit"] if values.ndim and values.shape[-1] > 1 else np.ones(values.shape)
        left = np.asarray(room.get(domain, np.ones(values.shape)), float)
        # So small a probability has no information that rounding would leave.
        least = np.finfo(values.dtype).eps ** 1.5 if domain in ("unit", "simplex") else 0.0
        near = (left <= least) | (errors * np.sqrt(_ROWS) > np.abs(left))
        found.append(np.ravel(near & (domain in room) & bool(free)))
    return np.concatenate(found) if found else np.zeros(0, bool)
