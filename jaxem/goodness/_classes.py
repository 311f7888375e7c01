"""How well the members of a model can be told apart: entropy R2, classification error and table."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.models.function import FunctionModel
from jaxem.models.joined import AbstractJoined
from jaxem.structures.sequences import steps_of

KINDS = ("uniform", "marginal")


@dataclasses.dataclass(frozen=True)
class Classification:
    """The result of `classification`.

    **Attributes:**

    - `table`: `[k, k]`, expected numbers of observations by latent member (row) and the most probable one given the
        data (column), as Latent GOLD prints it.
    - `average_posterior`: `[k, k]`, the mean posterior probabilities (columns) of the observations that are assigned to
        each member (rows); NaN for a member that none is assigned to.
    - `error`: the expected share of observations that are assigned to another member than theirs.
    - `lambda_`: the share of the error without data that the data take away (Goodman and Kruskal's lambda); NaN where
        there is none to take away.
    - `entropy_r2`, `marginal_entropy_r2`: see `entropy_r2`.
    - `sizes`: `[k]`, expected numbers of observations.
    """

    table: Float[np.ndarray, "k k"]
    average_posterior: Float[np.ndarray, "k k"]
    error: float
    lambda_: float
    entropy_r2: float
    marginal_entropy_r2: float
    sizes: Float[np.ndarray, " k"]


def classification(model: AbstractModel, params: PyTree, data: Any, weights: Any = None) -> Classification:
    """How certain it is which member each observation comes from.

    **Arguments:**

    - `model`, `params`: a fitted model with `posterior(params, data)`: mixtures, experts, hidden Markov models. Of
        sequences every observed step is an observation.
    - `data`, `weights`: as for `fit`; weights are frequencies.

    **Returns:** a `Classification`. Vermunt and Magidson (2005), Technical guide for Latent GOLD 4.0.

    **Raises:** `MissingCapabilityError` for a model without posterior probabilities of members.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.1], [-0.2], [0.3], [7.9], [8.1]])
    >>> model = jaxem.GaussianMixture(2, "tied")
    >>> fit = jaxem.fit(model, x, key=jax.random.key(0), restarts=4)
    >>> found = jaxem.goodness.classification(model, fit.params, x)
    >>> sorted(round(float(size)) for size in found.table.diagonal()), round(found.error, 3)
    ([2, 3], 0.0)
    """
    posterior, count = _posterior(model, params, data, weights)
    k, total = posterior.shape[1], count.sum()
    modal = np.argmax(posterior, 1)
    chosen = np.zeros_like(posterior)
    chosen[np.arange(len(modal)), modal] = 1
    table = (posterior * count[:, None]).T @ chosen
    assigned, sizes = table.sum(0), table.sum(1)
    average = np.full((k, k), np.nan)
    average[assigned > 0] = (table.T)[assigned > 0] / assigned[assigned > 0, None]
    error, blind = _error(posterior, count), max(1 - sizes.max() / total, 0.0)
    some = blind > 8 * np.finfo(posterior.dtype).eps
    return Classification(
        table,
        average,
        error,
        float(1 - error / blind) if some else float("nan"),
        _entropy_r2(posterior, count, "uniform"),
        _entropy_r2(posterior, count, "marginal"),
        sizes,
    )


def classification_error(model: AbstractModel, params: PyTree, data: Any, weights: Any = None) -> float:
    """The expected share of observations whose most probable member is not theirs: the mean of one less the largest
    posterior probability.

    **Arguments:** as for `classification`.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.Bernoulli(), 2)
    >>> components = jaxem.families.BernoulliParams(jnp.array([[0.8], [0.2]]))
    >>> params = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), components)
    >>> round(jaxem.goodness.classification_error(model, params, jnp.array([[0.0], [1.0]])), 2)
    0.2
    """
    return _error(*_posterior(model, params, data, weights))


def entropy_r2(
    model: AbstractModel, params: PyTree, data: Any, weights: Any = None, *, baseline: str = "uniform"
) -> float:
    """How much of the uncertainty about members the data take away: 1 if each is certain, 0 if they say nothing.

    One less the mean entropy of the posterior probabilities over that without the data.

    **Arguments:** as for `classification`, and

    - `baseline`: the entropy without the data. `"uniform"`: `log(k)` (Ramaswamy, DeSarbo, Reibstein and
        Robinson 1993; what Mplus calls entropy). `"marginal"`: that of the mean posterior probabilities (the entropy R2
        of Latent GOLD; Vermunt and Magidson 2005).

    **Returns:** a number; NaN for a single member, of which nothing is uncertain.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Mixture(jaxem.Bernoulli(), 2)
    >>> components = jaxem.families.BernoulliParams(jnp.array([[0.8], [0.2]]))
    >>> params = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), components)
    >>> round(jaxem.goodness.entropy_r2(model, params, jnp.array([[0.0], [1.0]])), 3)
    0.278
    """
    if baseline not in KINDS:
        raise DataError(f"baseline must be one of {', '.join(map(repr, KINDS))}, got {baseline!r}")
    return _entropy_r2(*_posterior(model, params, data, weights), baseline)


def _error(posterior: np.ndarray, count: np.ndarray) -> float:
    return float(np.sum(count * (1 - posterior.max(1))) / count.sum())


def _entropy_r2(posterior: np.ndarray, count: np.ndarray, baseline: str) -> float:
    k, share = posterior.shape[1], count / count.sum()
    mean = share @ posterior
    most = np.log(k) if baseline == "uniform" else float(_entropy(mean[None])[0])
    if k == 1 or most <= 0:
        return float("nan")
    return float(1 - share @ _entropy(posterior) / most)


def _entropy(p: np.ndarray) -> np.ndarray:
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), -1)


def _posterior(model: Any, params: PyTree, data: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Posterior probabilities `[n, k]` of the observations that count, and how often each does."""
    require_concrete("jaxem.goodness", "model.posterior", data=data, weights=weights, params=params)
    enumerated = isinstance(model, FunctionModel) and model.continuous is None
    if not isinstance(model, AbstractJoined) and not enumerated:
        raise MissingCapabilityError(
            f"{type(model).__name__} has no posterior probabilities of members: classes are those of mixtures, "
            "experts, hidden Markov models, and a FunctionModel whose latent is enumerated"
        )
    data, weights, params, _ = for_question(model, params, data, weights)
    found = np.asarray(model.posterior(params, data), float)
    count = np.ones(len(found)) if weights is None else np.asarray(weights, float)
    if found.ndim == 3:
        seen = np.asarray(steps_of(data).seen())
        count = np.broadcast_to(count[:, None], seen.shape)[seen]
        found = found[seen]
    found, count = found[count > 0], count[count > 0]
    if not len(found):
        raise DataError("no observation has a positive weight")
    return found / found.sum(1, keepdims=True), count
