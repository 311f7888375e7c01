"""Where parameters lie, checked on the host."""

import numpy as np


def fault(values: np.ndarray, domain: str, *, strict: bool = True) -> str | None:
    """What is wrong with an array of parameters that are to lie in the domain, after its name; `None` if nothing is.

    Rounding is forgiven; a covariance that is singular but for that only if not `strict`.
    """
    if not np.isfinite(values).all():
        return _at(~np.isfinite(values), values, "holds {}, which is not finite")
    wide = values.astype(np.float64)
    if domain == "positive":
        return _at(wide <= 0, values, "holds {}, which is not positive")
    if domain == "nonnegative":
        return _at(wide < 0, values, "holds {}, which is not at least 0")
    if domain == "unit":
        return _at((wide < 0) | (wide > 1), values, "holds {}, which is no probability")
    if domain == "simplex":
        return _simplex(wide, _rounding(values))
    return _definite(wide, _rounding(values), strict) if domain == "definite" and values.size else None


def _simplex(p: np.ndarray, rounding: float) -> str | None:
    if (p < 0).any():
        return _at(p < 0, p, "holds a negative probability, {}")
    total = p.sum(-1)
    wrong = np.abs(total - 1) > rounding
    return _at(wrong, total, "holds probabilities that sum to {}, not 1") if p.size else None


def _definite(matrices: np.ndarray, rounding: float, strict: bool) -> str | None:
    variances = np.diagonal(matrices, axis1=-2, axis2=-1)
    if (variances <= 0).any():
        return _at(variances <= 0, variances, "holds a covariance with a variance that is not positive, {}")
    # Correlations: whether a matrix is definite does not depend on the units of its columns.
    scale = np.sqrt(variances)
    scaled = matrices / scale[..., :, None] / scale[..., None, :]
    skew = np.abs(scaled - np.swapaxes(scaled, -1, -2)).max((-2, -1))
    if (skew > rounding).any():
        return _at(skew > rounding, skew, "holds a covariance that is not symmetric")
    scaled = (scaled + np.swapaxes(scaled, -1, -2)) / 2
    try:
        np.linalg.cholesky(scaled)
        return None
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(scaled)[..., 0]
    wrong = least <= 0 if strict else least < -rounding
    return _at(wrong, least, "holds a covariance that is not positive definite")


def _at(wrong: np.ndarray, values: np.ndarray, message: str) -> str | None:
    """The message with the first value that is wrong, and where it is."""
    if not np.any(wrong):
        return None
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = f" (at {list(at)})" if at else ""
    return message.format(f"{float(values[at]):.6g}") + where


def _rounding(values: np.ndarray) -> float:
    return 1e-6 if values.dtype == np.float64 else 1e-4
