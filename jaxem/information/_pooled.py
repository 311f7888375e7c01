"""What several analyses of imputed data tell together: Rubin's rules in numbers."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree
from scipy import special

from jaxem._arguments import require_level
from jaxem._errors import DataError
from jaxem.information._functions import Interval, Wald, like
from jaxem.information._names import leaves_of
from jaxem.information._scales import intervals


@dataclasses.dataclass(frozen=True)
class Pooled:
    """The result of `pool`: `m` numbers from `num_imputations` analyses.

    **Attributes:**

    - `estimate`: the mean of the estimates, a tree like one of them.
    - `within`, `between`: the mean of the covariances, and the covariance of the estimates, `[m, m]`, in the order of
        `jax.flatten_util.ravel_pytree`.
    - `num_imputations`: how many analyses there were.
    - `complete_degrees_of_freedom`: those of an analysis without missing entries; infinite if they are not known.
    - `level`: of intervals, where none is given.
    """

    estimate: PyTree
    within: Float[np.ndarray, "m m"]
    between: Float[np.ndarray, "m m"]
    num_imputations: int
    complete_degrees_of_freedom: float
    level: float
    model: Any = dataclasses.field(repr=False, default=None)

    @property
    def _more(self) -> float:
        return 1 + 1 / self.num_imputations

    @property
    def covariance(self) -> Float[np.ndarray, "m m"]:
        """That within, and that between with a correction for the number of imputations, `[m, m]`."""
        return self.within + self._more * self.between

    @property
    def standard_errors(self) -> PyTree:
        """The roots of its diagonal, a tree like the estimate."""
        return like(self.estimate, np.sqrt(np.diagonal(self.covariance)))

    @property
    def _increase(self) -> np.ndarray:
        within, between = np.diagonal(self.within), self._more * np.diagonal(self.between)
        with np.errstate(divide="ignore", invalid="ignore"):
            return between / within

    @property
    def relative_increase(self) -> PyTree:
        """By what fraction the variance is more for the missing entries, a tree; NaN for what has no variance."""
        return like(self.estimate, self._increase)

    @property
    def _freedom(self) -> np.ndarray:
        """Barnard and Rubin (1999)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(np.isinf(self._increase), 1.0, self._increase / (1 + self._increase))
            old = (self.num_imputations - 1) / share**2
            complete = self.complete_degrees_of_freedom
            if np.isinf(complete):
                return old
            observed = (complete + 1) / (complete + 3) * complete * (1 - share)
            return 1 / (1 / old + 1 / observed)

    @property
    def degrees_of_freedom(self) -> PyTree:
        """Those of the t distribution of each number, a tree like the estimate (Barnard and Rubin 1999)."""
        return like(self.estimate, self._freedom)

    @property
    def missing_fraction(self) -> PyTree:
        """The fraction of the information on each number that is missing, a tree like the estimate (Rubin 1987)."""
        increase = self._increase
        with np.errstate(invalid="ignore"):
            found = (increase + 2 / (self._freedom + 3)) / (1 + increase)
        return like(self.estimate, np.where(np.isinf(increase), 1.0, found))

    def interval(self, level: float | None = None) -> Interval:
        """The interval of each number: t distributed, on the scale of `jaxem.information.Information.interval`."""
        level = self.level if level is None else level
        require_level(level)
        with np.errstate(invalid="ignore"):
            wide = special.stdtrit(self._freedom, (1 + level) / 2)
        errors = np.sqrt(np.diagonal(self.covariance))
        errors = np.where(errors == 0, 0, errors * np.where(np.isnan(wide), special.ndtri((1 + level) / 2), wide))
        if self.model is None:
            value = np.concatenate([np.ravel(leaf) for _, leaf in leaves_of(self.estimate)]).astype(float)
            scales = {name: "identity" for name, _ in leaves_of(self.estimate)}
            return Interval(like(self.estimate, value - errors), like(self.estimate, value + errors), scales)
        lower, upper, scales = intervals(self.model, self.estimate, errors, 1.0)
        return Interval(like(self.estimate, lower), like(self.estimate, upper), scales)

    def wald(self, null: Any = 0.0) -> Wald:
        """The test that all numbers equal those of `null`, by the F distribution of Li, Raghunathan and Rubin (1991).

        `statistic` is the chi-square that has the same p value. For a hypothesis on some of them, pool a function.
        """
        value = np.concatenate([np.ravel(leaf) for _, leaf in leaves_of(self.estimate)]).astype(float)
        away, m, k = value - np.ravel(np.asarray(null, float)), self.num_imputations, len(value)
        if not np.isfinite(self.within).all() or np.linalg.matrix_rank(self.within) < k:
            raise DataError("the covariance within imputations has no inverse: pool a function that is determined")
        inverse = np.linalg.inv(self.within)
        r = self._more * float(np.trace(self.between @ inverse)) / k
        ratio = float(away @ inverse @ away) / (k * (1 + r))
        t = k * (m - 1)
        if r <= 0:
            freedom = np.inf
        elif t > 4:
            freedom = 4 + (t - 4) * (1 + (1 - 2 / t) / r) ** 2
        else:
            freedom = t * (1 + 1 / k) * (1 + 1 / r) ** 2 / 2
        p_value = float(special.chdtrc(k, k * ratio) if np.isinf(freedom) else special.fdtrc(k, freedom, ratio))
        return Wald(float(special.chdtri(k, p_value)), k, p_value)

    def __repr__(self) -> str:
        return f"Pooled({self.num_imputations} imputations, {len(self.within)} numbers)"
