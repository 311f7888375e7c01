"""`lo_mendell_rubin`: a test of the number of components without samples."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from jaxem._coordinates import vector
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.goodness._weighted_chi2 import upper_tail
from jaxem.information import observed


@dataclasses.dataclass(frozen=True)
class LoMendellRubin:
    """The result of `lo_mendell_rubin`.

    **Attributes:**

    - `statistic`: twice the difference of the log-likelihoods.
    - `adjusted_statistic`: that over `1 + 1 / ((p - q) log(n))`.
    - `p_value`, `adjusted_p_value`: the probabilities of larger statistics.
    - `degrees_of_freedom`: `p - q`, how many parameters the alternative has more.
    - `weights`: `[p + q]`, of the chi-square variables whose sum the statistic is distributed as.
    """

    statistic: float
    adjusted_statistic: float
    p_value: float
    adjusted_p_value: float
    degrees_of_freedom: int
    weights: Float[np.ndarray, " m"] = dataclasses.field(repr=False)


def lo_mendell_rubin(
    null: AbstractModel, null_params: PyTree, alternative: AbstractModel, params: PyTree, data: Any, weights: Any = None
) -> LoMendellRubin:
    """Tests `k - 1` components against `k` by the theorem of Vuong, as Lo, Mendell and Rubin (2001) propose.

    Where the two models come as near to the truth as each other, twice the difference of the log-likelihoods is
    distributed as a sum of chi-square variables of one degree of freedom, weighted by the eigenvalues of a matrix of
    the expected second derivatives `A` and the expected outer products `B` of scores (Vuong 1989, theorem 3.3):
    `[[-B_f A_f^-1, -B_fg A_g^-1], [B_gf A_f^-1, B_g A_g^-1]]`, with `f` the alternative and `g` the null hypothesis.
    Both are estimated at the fits. The adjusted statistic is (15) of Lo, Mendell and Rubin (2001, Testing the number of
    components in a normal mixture, Biometrika 88, 767-778), of which `p` and `q` are the numbers of parameters.

    **It is an approximation whose conditions do not hold**: if there are `k - 1` components, the parameters of `k` are
    not determined, and the theorem assumes that they are (Jeffries 2003, A note on "Testing the number of components in
    a normal mixture", Biometrika 90, 991-994). It takes no samples, and is here to compare with other programs.
    `jaxem.likelihood_ratio_test` has a p value that holds.

    **Arguments:**

    - `null`, `null_params`: the model of fewer components, and the maximum of its likelihood.
    - `alternative`, `params`: the model of more, and its maximum.
    - `data`, `weights`: what both were fitted to; weights are frequencies.

    **Returns:** a `LoMendellRubin`.

    **Raises:** `DataError` where the alternative has no more parameters, or a fit does not determine all of its own, or
    has one on a bound; `FitError` for parameters that are no maximum.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> deaths = jnp.arange(10.0)[:, None]
    >>> days = jnp.array([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    >>> one, two = jaxem.Mixture(jaxem.Poisson(), 1), jaxem.Mixture(jaxem.Poisson(), 2)
    >>> fits = [jaxem.fit(m, deaths, weights=days, key=jax.random.key(0), restarts=4) for m in (one, two)]
    >>> test = jaxem.goodness.lo_mendell_rubin(one, fits[0].params, two, fits[1].params, deaths, days)
    >>> round(test.statistic, 1), test.degrees_of_freedom, test.p_value < 0.01
    (22.9, 2, True)
    """
    require_concrete(
        "jaxem.goodness.lo_mendell_rubin",
        "model.log_likelihood",
        data=data,
        weights=weights,
        null_params=null_params,
        params=params,
    )
    count = None
    found = []
    for name, model, own in (("null", null, null_params), ("alternative", alternative, params)):
        table, frequencies, own, _ = for_question(model, own, data, weights)
        count = np.ones(len(jax.tree.leaves(table)[0])) if frequencies is None else np.asarray(frequencies, float)
        found.append(_moments(name, model, own, table, frequencies, count))
    assert count is not None
    low, high = found
    n, more = float(count.sum()), high.number - low.number
    if more < 1:
        raise DataError(f"alternative has {more} parameters more than null: it must have at least one")
    if n <= 1:
        raise DataError(f"data has {n:g} observations: the test takes more than one")
    statistic = 2 * (high.log_likelihood - low.log_likelihood)
    if statistic < -1e-6 * abs(low.log_likelihood):
        raise DataError(
            f"the alternative is worse than the null hypothesis, by {-statistic / 2:.3g}: it is a local optimum, or "
            "does not contain the null hypothesis"
        )
    statistic = max(statistic, 0.0)
    scores = np.concatenate([high.scores, low.scores], 1) * np.sqrt(count / n)[:, None]
    weight = _eigenvalues(scores, high.information / n, low.information / n)
    adjusted = statistic / (1 + 1 / (more * math.log(n)))
    return LoMendellRubin(
        statistic, adjusted, upper_tail(statistic, weight), upper_tail(adjusted, weight), more, weight
    )


@dataclasses.dataclass(frozen=True)
class _Moments:
    log_likelihood: float
    number: int
    scores: np.ndarray  # [n, p]
    information: np.ndarray  # [p, p]


def _moments(name: str, model: Any, params: PyTree, data: Any, weights: Any, count: np.ndarray) -> _Moments:
    info = observed(model, params, data, weights=weights)
    for names, what in ((info.unidentified, "does not determine"), (info.boundary, "has on a bound")):
        if names:
            raise DataError(
                f"the fit of {name} {what} {', '.join(names)}: the theorem does not apply; use "
                "jaxem.likelihood_ratio_test"
            )
    flat, at = vector(model, params)
    scores = np.asarray(jax.jacfwd(lambda flat: model.log_prob(at(flat), data))(flat), float)
    scores = np.where((count > 0)[:, None], scores, 0)
    total = float(model.log_likelihood(params, data, weights))
    return _Moments(total, int(model.num_parameters(params)), scores, np.asarray(info.matrix, float))


def _eigenvalues(scores: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Of the matrix above, which is similar to a symmetric one: `B^(1/2) diag(-A_f^-1, A_g^-1) B^(1/2)`."""
    p = len(high)
    middle = np.zeros((scores.shape[1], scores.shape[1]))
    middle[:p, :p], middle[p:, p:] = np.linalg.inv(high), -np.linalg.inv(low)
    values, vectors = np.linalg.eigh(scores.T @ scores)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return np.linalg.eigvalsh(root @ middle @ root)[::-1]
