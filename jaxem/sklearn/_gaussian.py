from typing import Any

import numpy as np

from jaxem._fit import fit as fit_model
from jaxem.families import Gaussian
from jaxem.families.priors import NormalInverseWishart
from jaxem.models import Mixture
from jaxem.sklearn._base import AbstractMixtureEstimator

_COVARIANCES = {"full": "full", "tied": "tied", "diag": "diagonal", "spherical": "spherical", "VEV": "VEV"}


class GaussianMixture(AbstractMixtureEstimator):
    """Gaussian mixture with the names of `sklearn.mixture.GaussianMixture`.

    Unlike there nothing is added to the covariances by default: a component that collapses is reported (`status_`, and
    a `ConvergenceWarning`), and a start that does so loses to any that converged. Starts run side by side, so several
    are the default. Rows can have weights.

    **Arguments:**

    - `n_components`: how many components, `k`.
    - `covariance_type`: `"full"`, `"tied"`, `"diag"`, `"spherical"`, or `"VEV"` (equal shapes, which scikit-learn
        does not have; see `jaxem.Gaussian`).
    - `tol`: a start has converged once an iteration gains at most so many nats per row.
    - `max_iter`: the most iterations of a start.
    - `n_init`: how many starts; the best is kept.
    - `init_params`: `"k-means++"` (also called `"kmeans"`: seeds, each row to its nearest, one M-step), `"random"`
        responsibilities, `"random_from_data"` means, or `"short_runs"` of EM.
    - `weights_init`, `means_init`, `precisions_init`: the start, `[k]`, `[k, d]` and shaped like `precisions_`; what is
        missing is as `init_params` draws it. There is one start then.
    - `covariance_floor`: no eigenvalue of a covariance falls below this fraction of the variance of the data.
    - `prior`: a `jaxem.priors.NormalInverseWishart`, for the posterior mode instead of the maximum of the likelihood.
    - `random_state`: a seed, a `RandomState`, or `None`.

    **Attributes** after `fit`: `weights_` `[k]`; `means_` `[k, d]`; `covariances_` and `precisions_`, full and VEV
    `[k, d, d]`, tied `[d, d]`, diag `[k, d]`, spherical `[k]`; `converged_`; `status_`, the name of a `jaxem.Status`;
    `n_iter_`; `lower_bound_`, the objective per unit of weight, and `lower_bounds_`, that after every iteration of the
    best start; `n_features_in_` and `feature_names_in_`.

    **Example**

    >>> import jaxem
    >>> from jaxem.sklearn import GaussianMixture
    >>> x = jaxem.datasets.old_faithful().data
    >>> mixture = GaussianMixture(2, random_state=0).fit(x)
    >>> mixture.converged_, mixture.means_.shape, round(mixture.lower_bound_ * len(x), 3)
    (True, (2, 2), -1130.264)
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-6,
        max_iter: int = 1000,
        n_init: int = 10,
        init_params: str = "k-means++",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        covariance_floor: float = 1e-12,
        prior: NormalInverseWishart | None = None,
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.covariance_floor = covariance_floor
        self.prior = prior
        self.random_state = random_state

    def _build(self) -> Mixture:
        if self.covariance_type not in _COVARIANCES:
            raise ValueError(f"covariance_type must be one of {', '.join(_COVARIANCES)}, got {self.covariance_type!r}")
        family = Gaussian(_COVARIANCES[self.covariance_type], self.prior, self.covariance_floor)
        return Mixture(family, self.n_components)

    def _given_start(self, model, x, weights, key):
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(value is None for value in given):
            return None
        params = fit_model(model, x, key=key, weights=weights, max_steps=0).params
        shares, means, precisions = given
        components = params.components
        if means is not None:
            components = components._replace(mean=np.asarray(means, x.dtype))
        if precisions is not None:
            components = components._replace(covariance=self._inverted(np.asarray(precisions, x.dtype)))
        return type(params)(params.weights if shares is None else np.asarray(shares, x.dtype), components)

    def _publish(self, params):
        self.weights_, (self.means_, self.covariances_) = params.weights, params.components
        self.precisions_ = self._inverted(self.covariances_)

    def _inverted(self, matrices: np.ndarray) -> np.ndarray:
        return 1 / matrices if self.covariance_type in ("diag", "spherical") else np.linalg.inv(matrices)
