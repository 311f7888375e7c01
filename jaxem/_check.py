"""Host-side checks and conversions of what `fit` is given."""

import operator
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError, PrecisionWarning


def as_table(x: Any, name: str) -> Any:
    """An array in the precision that JAX computes in, or an error that says why there is none."""
    if isinstance(x, jax.Array):
        return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{name} is not a rectangular table: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} has values of type {array.dtype}, not numbers; convert or drop such columns")
    target = jnp.result_type(float) if array.dtype.kind != "f" else array.dtype
    if target == np.float64 and jnp.result_type(float) == np.float32:
        target = np.dtype(np.float32)
        warnings.warn(
            f"{name} is float64, but JAX computes in float32 unless told otherwise: call "
            'jax.config.update("jax_enable_x64", True) first to keep the precision, or pass float32',
            PrecisionWarning,
            stacklevel=4,
        )
        _check_resolution(array, name)
    if target == np.float16:
        raise DataError(f"{name} is float16, which cannot hold sums over rows; convert it to float32")
    return array.astype(target, copy=False)


def _check_resolution(array: np.ndarray, name: str) -> None:
    if array.ndim != 2 or not np.isfinite(array).all():
        return
    fine, coarse = array.std(0), array.astype(np.float32).astype(np.float64).std(0)
    lost = np.flatnonzero(np.abs(coarse - fine) > 0.01 * fine)
    if lost.size:
        column = int(lost[0])
        raise DataError(
            f"{name}: float32 cannot hold column {column} (values near {array[0, column]:.6g} with standard deviation "
            f"{fine[column]:.3g}); subtract its mean first, or enable float64"
        )


def as_data(data: Any, name: str = "data") -> PyTree:
    """`data` with every table converted, in dictionaries and in named tuples.

    A named tuple says which of its fields stay integers, as `integers`; a field may be `None`.
    """
    if isinstance(data, dict):
        if not data:
            raise DataError(f"{name} is an empty dictionary")
        parts = {f"{name}[{key!r}]": (key, as_data(value, f"{name}[{key!r}]")) for key, value in data.items()}
        converted = dict(parts.values())
    elif hasattr(data, "_fields"):
        integers = getattr(data, "integers", ())
        parts = {}
        for field, value in zip(data._fields, data, strict=True):
            if value is not None:
                own = f"{name}.{field}"
                parts[own] = (field, as_integers(value, own) if field in integers else as_data(value, own))
        converted = data._replace(**dict(parts.values()))
    else:
        return as_table(data, name)
    lengths = {key: _length(value) for key, (_, value) in parts.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the tables in {name} have different numbers of rows: {lengths}")
    return converted


def _length(tree: PyTree) -> int:
    leaf = jax.tree.leaves(tree)[0]
    return leaf.shape[0] if leaf.ndim else 0


def as_integers(x: Any, name: str) -> Any:
    """An array of int32, or an error."""
    array = np.asarray(x)
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} must be integers, got {array.dtype}")
    return array.astype(np.int32)


def float_dtype(tree: PyTree) -> Any:
    """The type of the first leaf that is not of integers."""
    return next(jnp.dtype(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating))


def as_weights(weights: Any, n: int, dtype: Any) -> np.ndarray | None:
    """Weights `[n]`: finite, not negative, not all zero."""
    if weights is None:
        return None
    w = np.asarray(weights)
    if w.dtype.kind not in "fiub" or w.shape != (n,):
        raise DataError(f"weights must be {n} numbers, one for each row, got {w.dtype} of shape {w.shape}")
    bad = np.flatnonzero(~np.isfinite(w) | (w < 0))
    if bad.size:
        raise DataError(f"weights: row {int(bad[0])} has weight {w[bad[0]]}; weights must be finite and not negative")
    if not w.sum() > 0:
        raise DataError("weights sum to zero; at least one row needs a positive weight")
    return w.astype(dtype)


def as_starts(init: Any, like: PyTree, dtype: Any) -> tuple[PyTree, int]:
    """Given parameters as a stack along a leading axis, and how many they are; `like` has the shapes of one."""
    if jax.tree.structure(init) != jax.tree.structure(like):
        raise DataError(
            f"init has structure {jax.tree.structure(init)}, but the model's parameters have "
            f"{jax.tree.structure(like)}; pass parameters, a stack of them, or one of the names of a method"
        )
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(init)]
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(like)]
    shapes = [leaf.shape for leaf in jax.tree.leaves(like)]
    single = all(array.shape == shape for array, shape in zip(arrays, shapes, strict=True))
    count = 1 if single else (arrays[0].shape[0] if arrays[0].ndim else 0)
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        if array.shape != (shape if single else (count, *shape)):
            raise DataError(f"init{name} has shape {array.shape}, expected {shape}, or a stack of those")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DataError(f"init{name} has values that are not finite numbers")
    arrays = [array.astype(dtype) if not single else array.astype(dtype)[None] for array in arrays]
    return jax.tree.unflatten(jax.tree.structure(like), arrays), count


def positive(name: str, value: Any, least: int = 1) -> int:
    """An integer that is at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise DataError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise DataError(f"{name} must be at least {least}, got {number}")
    return number
