"""What a profile likelihood tells: an interval, and the maximum for each value of a grid."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree


@dataclasses.dataclass(frozen=True)
class Profile:
    """The result of `profile`.

    **Attributes:**

    - `name`, `level`, `scale`: what was profiled, and how.
    - `estimate`: its value at the parameters of the fit.
    - `lower`, `upper`: the limits of the interval; infinite or NaN as `notes` say.
    - `values`: the grid, `[g]`: from limit to limit, equally spaced on the scale.
    - `log_likelihood`: the largest log-likelihood (plus log prior density) for each of them, `[g]`.
    - `maximum`: the same without a constraint.
    - `params`: the parameters at which it is, a tree with a leading axis.
    - `status`: how each constrained fit ended, a `Status` of shape `[g]`.
    - `notes`: what there is to say of limits that are no crossing of the level, and of the fit.
    """

    name: str
    level: float
    scale: str
    estimate: float
    lower: float
    upper: float
    values: Float[np.ndarray, " g"]
    log_likelihood: Float[np.ndarray, " g"] = dataclasses.field(repr=False)
    maximum: float
    params: PyTree = dataclasses.field(repr=False)
    status: Any = dataclasses.field(repr=False)
    notes: tuple[str, ...]

    @property
    def deviance(self) -> Float[np.ndarray, " g"]:
        """Twice the log-likelihood that each value costs, `[g]`: chi-square with 1 degree of freedom at the truth."""
        return 2 * np.maximum(self.maximum - self.log_likelihood, 0)

    @property
    def signed_root(self) -> Float[np.ndarray, " g"]:
        """The square root of the deviance, negative below the estimate, `[g]`: a straight line is a normal estimate."""
        return np.sign(self.values - self.estimate) * np.sqrt(self.deviance)

    def __repr__(self) -> str:
        interval = f"{self.estimate:.6g}, {100 * self.level:g}% interval {self.lower:.6g} to {self.upper:.6g}"
        return "\n  ".join([f"Profile({self.name}: {interval})", *self.notes])
