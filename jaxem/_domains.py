"""Where parameters lie, checked on the host: the words are those of `jaxem.FunctionModel`, and `"nonnegative"`."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._errors import DataError
from jaxem._paths import leaf_name


def check_params(model: Any, params: PyTree, name: str, *, strict: bool = False) -> None:
    """Raise `DataError` for parameters that are not finite, or not where `model.domains` says that they lie.

    Rounding is forgiven; a covariance that is singular but for that only if not `strict`.
    """
    domains = model.domains
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        own = leaf_name(path)
        values = np.asarray(leaf)
        if values.dtype.kind in "fiu":
            check_leaf(values, domains.get(own, "real"), f"{name}.{own}" if own else name, strict=strict)


def check_leaf(values: np.ndarray, domain: str, name: str, *, strict: bool = False) -> None:
    """Raise `DataError` for an array of parameters that are not finite, or do not lie in the domain."""
    _require(np.isfinite(values), values, name, "is not finite")
    rounding = 1e-4 if values.dtype == np.float32 else 1e-6
    x = values.astype(np.float64)
    if domain == "positive":
        _require(x > 0, values, name, "is not positive")
    elif domain == "nonnegative":
        _require(x >= 0, values, name, "is negative")
    elif domain in ("unit", "simplex"):
        _require((x >= 0) & (x <= 1 + rounding), values, name, "is no probability")
    if domain == "simplex" and x.size:
        total = x.sum(-1)
        wrong = np.abs(total - 1) > rounding
        if np.any(wrong):
            at = tuple(int(i) for i in np.argwhere(np.atleast_1d(wrong))[0]) if np.ndim(wrong) else ()
            where = f"{name}{list(at)}" if at else name
            raise DataError(f"{where} sums to {float(total[at]):.6g}, not to 1; divide it by its sum")
    if domain == "definite" and x.size:
        _check_definite(x.reshape(-1, *x.shape[-2:]), x.ndim > 2, name, rounding, strict)


def _check_definite(matrices: np.ndarray, several: bool, name: str, rounding: float, strict: bool) -> None:
    size = np.abs(matrices).max((1, 2))
    skew = np.abs(matrices - np.swapaxes(matrices, 1, 2)).max((1, 2))
    for i in np.flatnonzero(skew > rounding * size)[:1]:
        raise DataError(f"{name}{[int(i)] if several else ''} is not symmetric")
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    try:
        np.linalg.cholesky(matrices)
        return
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(matrices)
    least = 0 if strict else -rounding * values[:, -1]
    for i in np.flatnonzero((values[:, -1] <= 0) | (values[:, 0] <= least if strict else values[:, 0] < least))[:1]:
        raise DataError(
            f"{name}{[int(i)] if several else ''} is not positive definite: its smallest eigenvalue is "
            f"{values[i, 0]:.3g}"
        )


def _require(valid: np.ndarray, values: np.ndarray, name: str, what: str) -> None:
    if not np.all(valid):
        at = tuple(int(i) for i in np.argwhere(~np.asarray(valid))[0])
        raise DataError(f"{name}{list(at) if at else ''} is {float(values[at])!r}, which {what}")
