"""Checks of the arguments of the host entries, apart from data."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._moved import MOVED
from jaxem._paths import leaf_name
from jaxem.engine.door import check_params
from jaxem.engine.shapes import require_structure

MOST = 2**31 - 2  # steps are counted in 32 bits


def as_count(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """An integer between `least` and `most`."""
    if isinstance(value, bool | np.bool_):
        raise DataError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise DataError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise DataError(f"{name} must be at least {least}, got {number}")
    if number > most:
        raise DataError(f"{name} must be at most {most}, got {number}")
    return number


def as_tolerance(tol: Any, name: str = "tol") -> float:
    """A number that is not negative."""
    try:
        number = float(tol)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a number, got {tol!r}") from None
    if number != number:
        raise DataError(f"{name} is not a number")
    if number < 0:
        raise DataError(f"{name} must be at least 0, got {number}")
    return number


def require_level(level: Any) -> None:
    """Raise `DataError` for what is no probability of an interval, between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 < level < 1:
        raise DataError(f"level must be a number between 0 and 1, such as 0.95, got {level!r}")


def require_key(key: Any) -> None:
    """Raise `DataError` for what is no random key of JAX."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    raw = getattr(key, "dtype", None) == np.uint32 and getattr(key, "ndim", 0) == 1
    if not (typed or raw):
        seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
        raise DataError(f"key must be a JAX random key, got {_shown(key)}: pass key=jax.random.key({seed})")


def require_kind(name: str, value: Any, kind: type, example: str, *, optional: bool = True) -> None:
    """Raise `DataError` for a value that is not of this kind, with what to pass; `None` passes if `optional`."""
    if (optional and value is None) or isinstance(value, kind):
        return
    if callable(value) and isinstance(getattr(value, "__name__", None), str):
        raise DataError(f"{name} is {value.__name__} itself; call it: {name}={_public(value)}()")
    what = kind.__name__.removeprefix("Abstract")
    raise DataError(f"{name} is {_shown(value)}, which is no {what}; pass one such as {example}")


def _public(value: Any) -> str:
    name = value.__name__
    if not str(getattr(value, "__module__", "")).startswith("jaxem"):
        return name
    return f"{MOVED['jaxem'].get(name, 'jaxem')}.{name}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def as_starts(init: Any, like: PyTree, model: Any, dtype: Any, name: str = "init") -> tuple[PyTree, int]:
    """Given parameters as a stack along a leading axis, and how many they are; `like` has the shapes of one."""
    if hasattr(init, "params") and hasattr(init, "status"):
        raise DataError(f"{name} is a fit: pass its parameters, fit.params")
    wanted = jax.tree_util.tree_leaves_with_path(like)
    advice = ": pass one set of them, a stack along a leading axis, or the name of a method"
    require_structure(init, like, name, advice)
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(init)]
    names = [".".join(filter(None, (name, leaf_name(path)))) for path, _ in wanted]
    shapes = [leaf.shape for _, leaf in wanted]
    count = _stacked(arrays, shapes)
    for own, array, shape in zip(names, arrays, shapes, strict=True):
        if array.shape != (shape if count is None else (count, *shape)):
            raise DataError(f"{own} has shape {array.shape}, expected {shape}, or a stack of those")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DataError(f"{own} has values that are not finite numbers")
    stack = [array.astype(dtype) if count is not None else array.astype(dtype)[None] for array in arrays]
    starts = jax.tree.unflatten(jax.tree.structure(like), stack)
    for i in range(count or 1):
        own = name if count is None else f"{name} {i}"
        check_params(model, jax.tree.map(lambda leaf: leaf[i], starts), own, strict=True)  # noqa: B023
    return starts, count or 1


def _stacked(arrays: list[np.ndarray], shapes: list[tuple[int, ...]]) -> int | None:
    """How many sets of parameters are stacked; `None` for one that is not. The number of axes of most leaves says."""
    if not arrays:
        return None
    extra = [array.ndim - len(shape) for array, shape in zip(arrays, shapes, strict=True)]
    exact = [array.shape == shape for array, shape in zip(arrays, shapes, strict=True)]
    if any(exact) or 2 * sum(more == 1 for more in extra) <= len(extra):
        return None
    leading = [array.shape[0] for array, more in zip(arrays, extra, strict=True) if more == 1]
    return max(set(leading), key=leading.count)
