"""What the estimators share: everything but the model and the names of its parameters."""

import dataclasses
import warnings
from abc import abstractmethod
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxem._fit import fit as fit_model
from jaxem._precision import precision_of
from jaxem._status import Status, status_name
from jaxem.engine.convert import as_weights
from jaxem.engine.door import for_fit
from jaxem.engine.stop import Stop
from jaxem.init import METHODS
from jaxem.models import Mixture
from jaxem.selection._sweep import Options, fit_among_others
from jaxem.termination import Gain

_METHODS = {
    "k-means++": "kmeans++",
    "kmeans": "kmeans++",
    "random": "random",
    "random_from_data": "points",
    "short_runs": "short_runs",
}
_DTYPES = (np.float64, np.float32)


class AbstractMixtureEstimator(DensityMixin, BaseEstimator):
    """A finite mixture, fitted by EM from `n_init` starts that run side by side.

    Computes in the precision of the data given to `fit`, whatever `jax_enable_x64` is.
    """

    n_components: Any
    tol: Any
    max_iter: Any
    n_init: Any
    init_params: Any
    random_state: Any

    @abstractmethod
    def _build(self) -> Mixture:
        """The model, from the arguments of the constructor."""

    @abstractmethod
    def _publish(self, params: Any) -> None:
        """Set the attributes that hold parameters, from NumPy arrays."""

    def _given_start(self, model: Mixture, x: np.ndarray, weights: Any, key: Any) -> Any:
        """Starting parameters, where the arguments of the constructor say so."""
        return None

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None):
        """Fit to rows `X` `[n, d]`, each counted `sample_weight` `[n]` times. `y` is ignored."""
        X = validate_data(self, X, dtype=_DTYPES, ensure_min_samples=2)
        weights = as_weights(sample_weight, len(X), None, "sample_weight")
        if self.init_params not in _METHODS:
            raise ValueError(f"init_params must be one of {', '.join(_METHODS)}, got {self.init_params!r}")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        model = self._build()
        with precision_of(X.dtype):
            key = jax.random.key(seed)
            weights = for_fit(model, X, weights, name="X").weights  # in a unit that the precision can hold
            start = self._given_start(model, X, weights, key)
            ends = self.tol, self.max_iter, Gain()
            options = Options(key, self.n_init, None, *ends, None, None, Stop.never())
            if start is None:
                drawn = dataclasses.replace(model, start=METHODS[_METHODS[self.init_params]])
                result = fit_among_others(drawn, X, weights, options)
            else:
                result = fit_model(model, X, init=start, weights=weights, **options._replace(restarts=1)._asdict())
            self._params = jax.tree.map(np.asarray, result.params)
            self._num_parameters = model.num_parameters(result.params)
            self.status_ = status_name(result.status)
            reason = "" if self.status_ == "converged" else Status[result.status]
        total = float(len(X) if weights is None else weights.sum(dtype=np.float64))
        self._model = model
        self.n_iter_ = int(result.num_steps)
        self.converged_ = self.status_ == "converged"
        self.lower_bounds_ = (np.asarray(result.history, np.float64) / total)[1:].tolist()
        self.lower_bound_ = float(result.objective) / total
        self._publish(self._params)
        if not self.converged_:
            warnings.warn(f"{type(self).__name__} did not converge: {reason}", ConvergenceWarning, stacklevel=2)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit to `X`, and the most probable component of each of its rows, `[n]`."""
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of each row, `[n]`."""
        return self._expectation(X)[0].argmax(1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The posterior probability of each component, `[n, n_components]`."""
        return self._expectation(X)[0]

    def score_samples(self, X: Any) -> np.ndarray:
        """The log density of each row, `[n]`, in nats."""
        return self._expectation(X)[1]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """The mean log density of the rows, in nats. `y` is ignored."""
        log_likelihood, total = self._total(X, sample_weight)
        return log_likelihood / total

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """The Bayesian information criterion on `X`; lower is better."""
        log_likelihood, total = self._total(X, sample_weight)
        return float(-2 * log_likelihood + self._num_parameters * np.log(total))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion on `X`; lower is better."""
        return float(-2 * self._total(X, sample_weight)[0] + 2 * self._num_parameters)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows `[n_samples, d]` and their components `[n_samples]`, in the order of the components."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with precision_of(self._dtype):
            drawn = self._model.sample(jax.random.key(seed), self._params, n_samples)
            rows, labels = jax.tree.map(np.asarray, drawn)
        order = labels.argsort(kind="stable")
        return rows[order], labels[order]

    @property
    def _dtype(self) -> np.dtype:
        return self._params.weights.dtype

    def _expectation(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        X = np.asarray(validate_data(self, X, dtype=_DTYPES, reset=False), self._dtype)
        with precision_of(self._dtype):
            moments, log_prob = self._model.expectation(self._params, X)
            return np.asarray(moments).T, np.asarray(log_prob)

    def _total(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        log_prob = self.score_samples(X).astype(np.float64)
        weights = as_weights(sample_weight, len(log_prob), None, "sample_weight")
        weights = np.ones_like(log_prob) if weights is None else weights
        # A row of weight 0 is none, also where its density is 0.
        return float(weights[weights > 0] @ log_prob[weights > 0]), float(weights.sum(dtype=np.float64))
