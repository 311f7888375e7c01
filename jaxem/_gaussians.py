"""Gaussian components as the pictures need them: always with full covariances, in the units of the data."""

from typing import Any, NamedTuple

import numpy as np


class Gaussians(NamedTuple):
    """`weights [k]`, `means [k, d]` and full `covariances [k, d, d]`, as float64 NumPy arrays.

    `bounds` are lower and upper ones of the means, `[k, d]` each, which pictures draw as error bars.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def standard_deviations(self) -> np.ndarray:
        """Standard deviation of every column within every component, `[k, d]`."""
        return np.sqrt(np.einsum("kii->ki", self.covariances))

    def select(self, columns) -> "Gaussians":
        """The marginal over some columns."""
        columns = np.asarray(columns)
        bounds = None if self.bounds is None else (self.bounds[0][:, columns], self.bounds[1][:, columns])
        return Gaussians(self.weights, self.means[:, columns], self.covariances[:, columns[:, None], columns], bounds)

    def ellipse(self, component: int, sds: float, points: int = 181) -> np.ndarray:
        """Outline `[points, 2]` of a two-dimensional component at `sds` standard deviations."""
        angle = np.linspace(0, 2 * np.pi, points)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        values, vectors = np.linalg.eigh(self.covariances[component])
        root = vectors * np.sqrt(np.maximum(values, 0))
        return self.means[component] + sds * (root @ circle).T


def gaussians(params: Any, covariance: str = "full", *, shift: Any = 0.0, scale: Any = 1.0) -> Gaussians:
    """The components of a Gaussian mixture, whatever the structure of its covariance.

    **Arguments:**

    - `params`: parameters of a mixture, with `weights [k]`, `components.mean [k, d]` and `components.covariance`.
    - `covariance`: `"full"` (`[k, d, d]`), `"tied"` (`[d, d]`), `"diagonal"` (`[k, d]`), `"spherical"` (`[k]`) or
        `"VEV"` (`[k, d, d]`).
    - `shift`, `scale`: scalars or `[d]`. If the parameters belong to `(x - shift) / scale`, these bring them back to
        the units of `x`.

    **Returns:** `Gaussians`.

    **Raises:** `ValueError` for another name or a shape that does not fit it.

    **Example**

    >>> import numpy as np
    >>> from types import SimpleNamespace as Params
    >>> from jaxem import plot
    >>> params = Params(weights=np.ones(1), components=Params(mean=np.zeros((1, 2)), covariance=np.array([4.0])))
    >>> plot.gaussians(params, "spherical").covariances.tolist()
    [[[4.0, 0.0], [0.0, 4.0]]]
    """
    weights = np.asarray(params.weights, float)
    mean = np.asarray(params.components.mean, float)
    given = np.asarray(params.components.covariance, float)
    k, d = mean.shape
    shapes = {"full": (k, d, d), "tied": (d, d), "diagonal": (k, d), "spherical": (k,), "VEV": (k, d, d)}
    if covariance not in shapes:
        raise ValueError(f"covariance: {covariance!r} is none of {', '.join(shapes)}")
    if given.shape != shapes[covariance]:
        raise ValueError(f"params: a {covariance} covariance has shape {shapes[covariance]}, not {given.shape}")
    if covariance == "spherical":
        given = given[:, None, None] * np.eye(d)
    elif covariance == "diagonal":
        given = given[:, :, None] * np.eye(d)
    factor = np.broadcast_to(np.asarray(scale, float), (d,))
    return Gaussians(weights, mean * factor + shift, np.broadcast_to(given, (k, d, d)) * np.outer(factor, factor))
