"""`factor_fit`: whether so many factors are enough."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import PyTree
from scipy import optimize, special

from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.families import Factor
from jaxem.goodness._weighted_chi2 import p_value
from jaxem.models import Single


@dataclasses.dataclass(frozen=True)
class FactorFit:
    """The result of `factor_fit`.

    **Attributes:**

    - `discrepancy`: `log|C| - log|S| + tr(S C^-1) - d`, of the covariance `C` of the model and `S` of the data.
    - `chi2`: `n` times that: twice the log-likelihood ratio to a covariance that is free.
    - `bartlett`: `n - 1 - (2 d + 5) / 6 - 2 q / 3` times that, whose distribution is closer to chi-square for `q`
        factors of `d` columns (Bartlett 1951), as `factanal` of R has it; NaN for isotropic noise.
    - `degrees_of_freedom`: `((d - q)^2 - (d + q)) / 2` for noise of each column, and what is left of `d (d + 1) / 2`
        covariances for isotropic noise.
    - `chi2_p_value`, `bartlett_p_value`: NaN without degrees of freedom.
    - `rmsea`: `sqrt(max(chi2 / df - 1, 0) / n)`, the misfit for each degree of freedom (Steiger 1990).
    - `rmsea_interval`: what contains it with 90 per cent confidence (Browne and Cudeck 1992).
    - `num_observations`: `n`.
    """

    discrepancy: float
    chi2: float
    bartlett: float
    degrees_of_freedom: int
    chi2_p_value: float
    bartlett_p_value: float
    rmsea: float
    rmsea_interval: tuple[float, float]
    num_observations: float


def factor_fit(model: AbstractModel, params: PyTree, data: Any, weights: Any = None) -> FactorFit:
    """Tests so many factors against a covariance matrix that is free.

    **Arguments:**

    - `model`, `params`: `jaxem.FactorAnalysis(q)` or `jaxem.PPCA(q)`, and the maximum of its likelihood.
    - `data`: rows `[n, d]` without missing entries.
    - `weights`: how often each row occurs, `[n]`.

    **Returns:** a `FactorFit`. Lawley and Maxwell (1971).

    **Raises:** `MissingCapabilityError` for other models; `DataError` for rows with missing entries, or too few.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> z, noise = (jax.random.normal(jax.random.key(i), (500, d)) for i, d in ((0, 1), (1, 4)))
    >>> x = z * jnp.array([[1.0, 0.9, -0.8, 0.7]]) + 0.5 * noise
    >>> model = jaxem.FactorAnalysis(1)
    >>> fit = jaxem.fit(model, x, key=jax.random.key(2))
    >>> found = jaxem.goodness.factor_fit(model, fit.params, x)
    >>> found.degrees_of_freedom, found.bartlett_p_value > 0.05
    (2, True)
    """
    require_concrete("jaxem.goodness.factor_fit", "model.log_prob", data=data, weights=weights, params=params)
    if not isinstance(model, Single) or not isinstance(model.family, Factor):
        raise MissingCapabilityError(
            f"{type(model).__name__} is no factor analysis: factor_fit takes jaxem.FactorAnalysis or jaxem.PPCA"
        )
    data, weights, params, _ = for_question(model, params, data, weights)
    x = np.asarray(data, float)
    missing = np.argwhere(np.isnan(x))
    if len(missing):
        raise DataError(f"data: row {int(missing[0][0])} has a missing entry; factor_fit takes complete rows")
    count = np.ones(len(x)) if weights is None else np.asarray(weights, float)
    n, (d, q) = float(count.sum()), np.shape(params.loading)
    centred = (x - count @ x / n) * np.sqrt(count / n)[:, None]
    rank = np.linalg.matrix_rank(centred)
    if rank < d:
        raise DataError(f"data: the covariance of {d} columns has rank {rank}: no likelihood to compare with is finite")
    noise = np.broadcast_to(np.asarray(params.noise_variance, float), (d,))
    loading = np.asarray(params.loading, float)
    discrepancy = _discrepancy(centred, loading, noise)
    df = d + d * (d + 1) // 2 - int(model.num_parameters(params))
    chi2 = n * discrepancy
    diagonal = model.family.noise == "diagonal"
    bartlett = max(n - 1 - (2 * d + 5) / 6 - 2 * q / 3, 0.0) * discrepancy if diagonal else float("nan")
    first, second = (p_value(value, df) for value in (chi2, bartlett))
    rmsea, interval = _rmsea(chi2, df, n)
    return FactorFit(discrepancy, chi2, bartlett, df, first, second, rmsea, interval, n)


def _discrepancy(centred: np.ndarray, loading: np.ndarray, noise: np.ndarray) -> float:
    # In columns whose noise has variance 1 the sum of eigenvalues has nothing that cancels on a large scale.
    scaled, loading = centred / np.sqrt(noise), loading / np.sqrt(noise)[:, None]
    root = np.linalg.cholesky(loading @ loading.T + np.eye(len(noise)))
    ratio = np.linalg.svd(np.linalg.solve(root, scaled.T), compute_uv=False) ** 2
    return float(np.sum(ratio - 1 - np.log(ratio)))


def _rmsea(chi2: float, df: int, n: float) -> tuple[float, tuple[float, float]]:
    if df < 1:
        return float("nan"), (float("nan"), float("nan"))
    ends = []
    for level in (0.95, 0.05):
        ends.append(_noncentrality(chi2, df, level))
    low, high = (float(np.sqrt(end / (df * n))) for end in ends)
    return float(np.sqrt(max(chi2 / df - 1, 0) / n)), (low, high)


def _noncentrality(chi2: float, df: int, level: float) -> float:
    """The noncentrality under which a smaller statistic has this probability; 0 where there is none."""
    if special.chdtr(df, chi2) <= level:
        return 0.0
    high = chi2 + df + 10
    while special.chndtr(chi2, df, high) > level:
        high *= 2
    found: Any = optimize.brentq(lambda at: special.chndtr(chi2, df, at) - level, 1e-12, high)
    return float(found)
