"""Whether parameters have the structure and the shapes of a model's own."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._paths import leaf_name
from jaxem.engine import cache, kept

_ROWS = 1024  # rows to draw a start from, of which there must be enough for any number of components


def shapes_of(model: Any, data: PyTree) -> PyTree:
    """Shapes of the parameters that `model.init` draws for `data`; a tree without leaves if it draws none.

    Looks at shapes alone, so also under a trace, and keeps what it found: it is the same for any number of rows.
    """
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((_ROWS, *leaf.shape[1:]), leaf.dtype), data)
    return _shapes_of(*_abstracted((model, rows)))


def result_shapes(fn: Callable[..., PyTree], model: Any, *trees: PyTree) -> PyTree:
    """`jax.eval_shape(partial(fn, model), *trees)`, traced once for models that are equal and hold no arrays.

    `fn` is a function of a module.
    """
    key = fn, *_abstracted((model, *trees))
    if any(eqx.is_array(leaf) for leaf in jax.tree.leaves(model)) or not _hashable(key):
        return jax.eval_shape(partial(fn, model), *trees)
    return _result_shapes(*key)


def require_shapes(params: PyTree, like: PyTree, name: str) -> None:
    """Raise `DataError` for the first leaf that has not the shape which it has in `like`, of the same structure."""
    for (path, leaf), wanted in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(like), strict=True):
        if np.shape(leaf) != wanted.shape:
            own = ".".join(filter(None, (name, leaf_name(path))))
            raise DataError(f"{own} has shape {np.shape(leaf)}, expected {wanted.shape}")


def require_structure(params: PyTree, like: PyTree, name: str, advice: str = "") -> None:
    """Raise `DataError` for a tree of another kind than `like`."""
    if jax.tree.structure(params) != jax.tree.structure(like):
        raise DataError(
            f"{name} has structure {_described(params)}, but the model's parameters are {_described(like)}{advice}"
        )


def _abstracted(tree: PyTree) -> tuple[Any, tuple[Any, ...]]:
    """The structure and the leaves of a tree, with what is known of arrays in their place."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(_abstract(leaf) for leaf in leaves)


def _abstract(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if eqx.is_array_like(leaf) and hasattr(leaf, "dtype") else leaf


@lru_cache(maxsize=256)
def _shapes_of(structure: Any, leaves: tuple[Any, ...]) -> PyTree:
    try:
        return kept.result_shapes(_start, jax.tree.unflatten(structure, leaves), cache.store())
    except Exception:  # whatever the model of another may raise
        return None


def _hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:  # a field of another's model
        return False
    return True


@lru_cache(maxsize=256)
def _result_shapes(fn: Callable[..., PyTree], structure: Any, leaves: tuple[Any, ...]) -> PyTree:
    return kept.result_shapes(fn, jax.tree.unflatten(structure, leaves), cache.store())


def _start(model: Any, data: PyTree) -> PyTree:
    return model.init(jax.random.key(0), data)


def _described(tree: Any) -> str:
    """The kind of a tree in words, without the arrays in it."""
    if hasattr(tree, "_fields"):
        fields = (f"{field}={_described(value)}" for field, value in zip(tree._fields, tree, strict=True))
        return f"{type(tree).__name__}({', '.join(fields)})"
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {_described(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        inside = ", ".join(_described(value) for value in tree)
        return f"({inside})" if isinstance(tree, tuple) else f"[{inside}]"
    shape = getattr(tree, "shape", None)
    return f"a {type(tree).__name__}" if shape is None else f"array{list(shape)}"
