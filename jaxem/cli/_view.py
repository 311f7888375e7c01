"""A fit beside its data, as the report and the picture need it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxem._gaussians import Gaussians


class View(NamedTuple):
    """The fitted `params` with the rows `x [n, d]` in their own units.

    A missing cell is NaN, unless the kind fills it in for its picture. `params` belong to `(x - shift) / scale`, and so
    do `bounds`, lower and upper ones by name, where standard errors were asked for; `options` are those of the model.
    `labels` `[n]` is the component of each row and `weights` `[k]` are the shares of the components, both empty where
    there are none; `table` `[n, m]` is what else is said of rows.
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
    bounds: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({})

    @property
    def members(self) -> Any:
        """The parameters of the components or states."""
        return self.params.emission if hasattr(self.params, "emission") else self.params.components

    def bounds_of(self, field: str, moved: bool = False) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper bounds of a parameter of the components or states, where any are known.

        In the units of the data, where these are `moved` with the columns.
        """
        name = f"{'emission' if hasattr(self.params, 'emission') else 'components'}.{field}"
        found = self.bounds.get(name)
        if found is None or not any(np.isfinite(part).any() for part in found):
            return None
        shape = np.shape(getattr(self.members, field))
        lower, upper = (np.reshape(part, shape) for part in found)
        return (lower * self.scale + self.shift, upper * self.scale + self.shift) if moved else (lower, upper)

    def gaussians(self) -> "Gaussians":
        """Gaussian components in the units of the data, with full covariances."""
        from types import SimpleNamespace

        from jaxem._gaussians import gaussians

        params = SimpleNamespace(weights=self.weights, components=self.members)
        found = gaussians(params, self.options["covariance"], shift=self.shift, scale=self.scale)
        return found._replace(bounds=self.bounds_of("mean", moved=True))
