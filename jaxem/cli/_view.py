"""A fit beside its data, as the report and the picture need it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxem.plot import Gaussians


class View(NamedTuple):
    """The fitted `params` with the rows `x [n, d]` in their own units.

    A missing cell is NaN, unless the kind fills it in for its picture. `params` belong to `(x - shift) / scale`;
    `options` are those of the model. `labels` `[n]` is the component of each row and `weights` `[k]` are the shares of
    the components, both empty where there are none; `table` `[n, m]` is what else is said of rows.
    """

    x: np.ndarray
    columns: Sequence[str]
    labels: np.ndarray
    weights: np.ndarray
    table: np.ndarray
    params: Any
    options: dict[str, Any]
    shift: np.ndarray
    scale: np.ndarray

    @property
    def members(self) -> Any:
        """The parameters of the components or states."""
        return self.params.emission if hasattr(self.params, "emission") else self.params.components

    def gaussians(self) -> "Gaussians":
        """Gaussian components in the units of the data, with full covariances."""
        from types import SimpleNamespace

        from jaxem.plot import gaussians

        params = SimpleNamespace(weights=self.weights, components=self.members)
        return gaussians(params, self.options["covariance"], shift=self.shift, scale=self.scale)
