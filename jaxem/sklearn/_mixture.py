from typing import Any

from jaxem.families import AbstractFamily, Bernoulli, Gaussian, Poisson
from jaxem.models import Mixture as MixtureModel
from jaxem.sklearn._base import AbstractMixtureEstimator

_FAMILIES = {"gaussian": Gaussian, "poisson": Poisson, "bernoulli": Bernoulli}


class Mixture(AbstractMixtureEstimator):
    """Mixture of the members of any exponential family, as a density estimator.

    **Arguments:**

    - `family`: `"gaussian"`, `"poisson"`, `"bernoulli"`, or a family such as `jaxem.Categorical(3)` or a
        `jaxem.Product` of several, each for some columns.
    - `n_components`: how many components, `k`.
    - `weights_prior`: a `jaxem.priors.Dirichlet` prior of the weights.
    - `tol`, `max_iter`, `n_init`, `init_params`, `random_state`: as for `GaussianMixture`.

    **Attributes** after `fit`: `weights_` `[k]`; `params_`, the parameters as from `jaxem.fit`, of NumPy arrays;
    `converged_`, `status_`, `n_iter_`, `lower_bound_` and `lower_bounds_`, `n_features_in_` and `feature_names_in_`, as
    for `GaussianMixture`.

    **Example**

    >>> import numpy as np
    >>> from jaxem.sklearn import Mixture
    >>> counts = np.array([[0], [1], [0], [9], [11], [10]])
    >>> mixture = Mixture("poisson", 2, random_state=0).fit(counts)
    >>> sorted(mixture.params_.components.rate[:, 0].round(1).tolist())
    [0.3, 10.0]
    """

    def __init__(
        self,
        family: str | AbstractFamily = "gaussian",
        n_components: int = 1,
        *,
        weights_prior: Any = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
        n_init: int = 10,
        init_params: str = "k-means++",
        random_state: Any = None,
    ):
        self.family = family
        self.n_components = n_components
        self.weights_prior = weights_prior
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state

    def _build(self) -> MixtureModel:
        family: Any = self.family
        if isinstance(family, str):
            if family not in _FAMILIES:
                raise ValueError(f"family must be a jaxem family or one of {', '.join(_FAMILIES)}, got {family!r}")
            family = _FAMILIES[family]()
        return MixtureModel(family, self.n_components, self.weights_prior)

    def _publish(self, params):
        self.params_, self.weights_ = params, params.weights
