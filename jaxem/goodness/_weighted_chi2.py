"""The distributions of chi-square variables and of weighted sums of them."""

import numpy as np
from scipy import integrate, special


def p_value(x: float, df: int) -> float:
    """The probability that a chi-square variable exceeds `x`; NaN where it has no degrees of freedom."""
    return float(special.chdtrc(df, max(x, 0.0))) if df > 0 else float("nan")


def upper_tail(x: float, weights: np.ndarray) -> float:
    """The probability that `sum(weights * chi-square variables of one degree of freedom)` exceeds `x`.

    By inversion of the characteristic function (Imhof 1961), to about eight digits after the point. Weights may be
    negative; those below rounding error of the largest are none.
    """
    weights = np.asarray(weights, float).reshape(-1)
    largest = np.max(np.abs(weights), initial=0.0)
    weights = weights[np.abs(weights) > 1e-10 * largest]
    if not weights.size:
        return float(x < 0)
    if (weights > 0).all() and x <= 0:
        return 1.0
    if (weights < 0).all() and x >= 0:
        return 0.0
    if np.ptp(weights) <= 1e-10 * largest:
        tail = special.chdtrc if weights[0] > 0 else special.chdtr
        return float(tail(len(weights), x / weights[0]))
    x, weights = x / largest, weights / largest

    def magnitude(u: float) -> float:
        return float(np.exp(np.sum(np.log1p((weights * u) ** 2)) / 4))

    def phase(u: float) -> float:
        return float(np.sum(np.arctan(weights * u)) / 2)

    def inner(u: float) -> float:
        slope = (np.sum(weights) - x) / 2
        return float(slope) if u == 0 else np.sin(phase(u) - x * u / 2) / (u * magnitude(u))

    # Up to where the waves begin as it is, and from there by the rule for waves of a known length.
    split = 1.0
    near = integrate.quad(inner, 0, split, epsabs=1e-11, epsrel=1e-11, limit=500)[0]
    if x == 0:
        far = integrate.quad(inner, split, np.inf, epsabs=1e-11, epsrel=1e-11, limit=500)[0]
    else:
        wave = abs(x) / 2
        sine = integrate.quad(
            lambda u: np.cos(phase(u)) / (u * magnitude(u)), split, np.inf, weight="sin", wvar=wave, limlst=500
        )[0]
        cosine = integrate.quad(
            lambda u: np.sin(phase(u)) / (u * magnitude(u)), split, np.inf, weight="cos", wvar=wave, limlst=500
        )[0]
        far = cosine - np.sign(x) * sine
    return float(np.clip(0.5 + (near + far) / np.pi, 0, 1))
