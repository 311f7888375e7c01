"""A fit beside its data, as the report and the picture need it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxem.plot import Gaussians


class View(NamedTuple):
    """The fitted `params` with the rows `x [n, d]` in their own units, and the component of each in `labels [n]`.

    `params` belong to `(x - shift) / scale`; `options` are those of the model.
    """

    x: np.ndarray
    columns: Sequence[str]
    labels: np.ndarray
    params: Any
    options: dict[str, Any]
    shift: np.ndarray
    scale: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        return np.asarray(self.params.weights, float)

    def gaussians(self) -> "Gaussians":
        """Gaussian components in the units of the data, with full covariances."""
        from jaxem.plot import gaussians

        return gaussians(self.params, self.options["covariance"], shift=self.shift, scale=self.scale)
