"""What users pass as data, as arrays in the precision that JAX computes in: the same wherever it is passed."""

import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from jaxem._errors import DataError, PrecisionWarning
from jaxem.engine.processes import is_shared
from jaxem.engine.spread import in_auto_mesh, spread_alike
from jaxem.engine.weights import held

_FLOATS = ("float32", "float64")


def as_data(data: Any, name: str = "data", *, warn: bool = False, dtype: Any = None) -> PyTree:
    """`data` with every table in it converted: a table, or tables in dictionaries, named tuples and tuples.

    A named tuple says which of its fields stay integers, as `integers`; a field may be `None`. Other integers become
    numbers of type `dtype`, by default the one that JAX computes in. With `warn`, numbers that lose digits on the way
    to single precision raise a `PrecisionWarning`; digits that matter an error always.
    """
    parts = _parts(data, name)
    if parts is None:
        return as_table(data, name, warn=warn, dtype=dtype)
    if not parts:
        raise DataError(f"{name} is empty: a {type(data).__name__} without tables")
    integers = getattr(data, "integers", ())
    converted = {
        key: as_integers(value, own) if key in integers else as_data(value, own, warn=warn, dtype=dtype)
        for key, (own, value) in parts.items()
    }
    lengths = {own: _length(converted[key]) for key, (own, _) in parts.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the tables in {name} have different numbers of rows: {lengths}")
    converted = spread_alike(converted)
    if isinstance(data, dict):
        return converted
    return data._replace(**converted) if hasattr(data, "_fields") else tuple(converted.values())


def _parts(data: Any, name: str) -> dict[Any, tuple[str, Any]] | None:
    """The tables of a container, each with the name that it goes by; `None` for what is a table itself."""
    if isinstance(data, dict):
        return {key: (f"{name}[{key!r}]", value) for key, value in data.items()}
    if hasattr(data, "_fields"):
        fields = zip(data._fields, data, strict=True)
        return {field: (f"{name}.{field}", value) for field, value in fields if value is not None}
    # A tuple of numbers is a row of a table, like a list; a tuple of arrays is none.
    if type(data) is tuple and any(getattr(value, "ndim", 0) > 0 or _is_frame(value) for value in data):
        return {i: (f"{name}[{i}]", value) for i, value in enumerate(data)}
    return None


def as_table(x: Any, name: str, *, warn: bool = False, dtype: Any = None) -> Any:
    """An array in a precision that JAX computes in, or an error that says why there is none."""
    own = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if isinstance(x, jax.Array):
        return _from_jax(x, name, own)
    array = _to_numpy(x, name)
    kind, full = array.dtype.kind, jnp.dtype(jnp.result_type(float))
    if kind == "f" and array.dtype.name not in _FLOATS:
        raise DataError(f"{name} is {array.dtype}, {_width_advice(array.dtype)}")
    if kind not in "fiub":
        raise DataError(f"{name} has values of type {array.dtype}, not numbers; convert or drop such columns")
    target = own if kind != "f" else full if array.dtype.itemsize == 8 else np.dtype(np.float32)
    if target == np.float32 and array.dtype != np.float32:
        if warn and array.dtype == np.float64:
            warnings.warn(
                f"{name} is float64, but JAX computes in float32 unless told otherwise: call "
                'jax.config.update("jax_enable_x64", True) first to keep the precision, or pass float32',
                PrecisionWarning,
                stacklevel=_outside(),
            )
        _check_resolution(array, name)
    return array.astype(target, copy=False)


def _from_jax(x: jax.Array, name: str, own: Any) -> jax.Array:
    x = in_auto_mesh(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        if x.dtype.name not in _FLOATS:
            raise DataError(f"{name} is {x.dtype}, {_width_advice(x.dtype)}")
        return x
    if x.dtype == bool or jnp.issubdtype(x.dtype, jnp.integer):
        if own == np.float32 and is_concrete(x):
            _check_resolution(np.asarray(x), name)
        return x.astype(own)
    raise DataError(f"{name} has values of type {x.dtype}, not real numbers; convert it first")


def _width_advice(dtype: Any) -> str:
    if jnp.dtype(dtype).itemsize < 4:
        return "which cannot hold sums over rows; convert it to float32"
    return "which JAX cannot compute in; convert it to float64"


def _to_numpy(x: Any, name: str) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray):
        if x.dtype.kind not in "fiub":
            raise DataError(f"{name} has values of type {x.dtype}, not numbers; convert or drop such columns")
        mask = np.ma.getmaskarray(x)
        values = x.data if x.dtype.kind == "f" else x.data.astype(np.float64 if mask.any() else x.dtype)
        return np.where(mask, np.asarray(np.nan, values.dtype), values) if mask.any() else values
    if hasattr(x, "tocsr"):
        raise DataError(f"{name} is a sparse matrix; pass its .toarray()")
    if _is_frame(x):
        return _from_frame(x, name)
    if hasattr(x, "to_numpy"):
        return _from_column(x, name)
    try:
        return np.asarray(x)
    except ValueError as error:
        hint = "; covariates and responses go into jaxem.Responses(x, y)" if type(x) is tuple and len(x) == 2 else ""
        raise DataError(f"{name} is not a rectangular table: {error}{hint}") from None


def _is_frame(x: Any) -> bool:
    """Whether this is a data frame, of pandas, polars or their like."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def _from_frame(frame: Any, name: str) -> np.ndarray:
    columns, names = [], [str(column) for column in frame.columns]
    for i, column in enumerate(names):
        series = frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)
        columns.append(_from_column(series, f"{name}: column {column!r}"))
    if not columns:
        raise DataError(f"{name} is empty: a table without columns")
    kinds = {column.dtype.kind for column in columns}
    # NumPy makes float64 of integers beside float32.
    return np.stack(columns, 1) if len(kinds) == 1 else np.stack([column.astype(np.float64) for column in columns], 1)


def _from_column(series: Any, name: str) -> np.ndarray:
    """A column of a frame: what its frame has for missing is NaN."""
    array = np.asarray(series.to_numpy())
    if array.dtype.kind in "fiub":
        return array
    if getattr(series.dtype, "kind", "") in tuple("fiub"):  # a pandas column that knows missing values
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if array.dtype == object and str(series.dtype) == "Boolean":  # of polars, with nulls
        return np.array([np.nan if value is None else float(value) for value in array])
    raise DataError(f"{name} has values of type {series.dtype}, not numbers; convert or drop it")


def _check_resolution(array: np.ndarray, name: str) -> None:
    """Raise `DataError` for a table of which single precision, which it is not in yet, would lose what matters."""
    finite = np.isfinite(array)
    if array.dtype.kind != "f" and (not array.size or np.abs(array.astype(np.float64)).max() <= 2**24):
        return
    values = np.where(finite, array, 0).astype(np.float64)
    with np.errstate(over="ignore"):
        coarse = values.astype(np.float32)
    if not np.isfinite(coarse).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(coarse))[0])
        raise DataError(
            f"{name}: row {where[0]} has value {values[where]!r}, which float32 cannot hold; scale the data, or enable "
            "float64"
        )
    if array.ndim != 2:
        return
    fine = np.nanstd(np.where(finite, values, np.nan), 0) if finite.any(0).all() else values.std(0)
    lost = np.nanstd(np.where(finite, coarse.astype(np.float64), np.nan), 0) if finite.any(0).all() else fine
    columns = np.flatnonzero(np.abs(lost - fine) > 0.01 * fine)
    if columns.size:
        column = int(columns[0])
        raise DataError(
            f"{name}: float32 cannot hold column {column} (values near {values[0, column]:.6g} with standard deviation "
            f"{fine[column]:.3g}); subtract its mean first, or enable float64"
        )


def as_integers(x: Any, name: str) -> Any:
    """An array of int32, or an error."""
    if np.ma.is_masked(x):
        raise DataError(f"{name} has masked entries, which no integer stands for")
    array = in_auto_mesh(x) if isinstance(x, jax.Array) else np.asarray(x)
    if array.dtype.kind not in "iu":
        raise DataError(f"{name} must be integers, got {array.dtype}")
    if is_concrete(array) and array.size:
        known = np.asarray(array)  # under a trace even the least of known values would be traced
        if int(known.min()) < -(2**31) or int(known.max()) >= 2**31:
            raise DataError(f"{name} has values beyond the range of 32-bit integers")
    return array.astype(np.int32)


def as_weights(weights: Any, n: int, dtype: Any, name: str = "weights", *, some: bool = True) -> Any:
    """Weights `[n]` of rows, or `None`: finite, not negative; in `dtype`, unless that is `None`.

    There must be `some` that are not zero, unless other rows are looked at elsewhere.
    """
    if weights is None:
        return None
    traced = isinstance(weights, jax.Array) and not is_concrete(weights)
    w = weights if traced else _to_numpy(weights, name)
    if w.dtype.kind not in "fiub" or w.shape != (n,):
        raise DataError(f"{name} must be {n} numbers, one for each row, got {w.dtype} of shape {w.shape}")
    if traced:
        return w.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(w) | (w < 0))
    if bad.size:
        raise DataError(f"{name}: row {int(bad[0])} has weight {w[bad[0]]}; weights must be finite and not negative")
    if some and not w.any():
        raise DataError(f"{name} sum to zero; at least one row needs a positive weight")
    return w if dtype is None else held(w, dtype, rescale=False).values


def float_dtype(tree: PyTree) -> Any:
    """The floating-point type of the first leaf that has one, or the one that JAX computes in."""
    dtypes = (leaf.dtype for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))
    kinds = (jnp.dtype(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating))
    return next(kinds, jnp.result_type(float))


def is_concrete(tree: PyTree) -> bool:
    """Whether the values of all arrays can be looked at: none is traced, nor spread over other processes."""
    return not any(isinstance(leaf, Tracer) or is_shared(leaf) for leaf in jax.tree.leaves(tree))


def _length(tree: PyTree) -> int:
    leaf = jax.tree.leaves(tree)[0]
    return leaf.shape[0] if leaf.ndim else 0


def _outside() -> int:
    """The `stacklevel` of the caller's caller that is not this package."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("jaxem."):
        level, frame = level + 1, frame.f_back
    return level
