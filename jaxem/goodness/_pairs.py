"""`bivariate_residuals`: which pairs of columns a model of latent classes leaves dependent."""

from typing import Any

import numpy as np
from jaxtyping import Float, PyTree

from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.goodness._levels import category_probabilities, codes_of, counted, require_codes
from jaxem.structures.one import One
from jaxem.structures.weights import Weights


def bivariate_residuals(
    model: AbstractModel, params: PyTree, data: Any, weights: Any = None
) -> Float[np.ndarray, "d d"]:
    """Pearson's statistic of the two-way table of each pair of columns, over its degrees of freedom.

    Given the class, columns are independent. A residual far above 1 says that the classes do not explain how two
    columns depend on each other. The expected counts are those of the model, and a table of `r` and `s` categories has
    `(r - 1)(s - 1)` degrees of freedom (Vermunt and Magidson 2005, Technical guide for Latent GOLD 4.0). They have no
    chi-square distribution, not even approximately (Oberski, van Kollenburg and Vermunt 2013).

    **Arguments:** as for `table_fit`; a `Mixture` or `Single` of categories.

    **Returns:** a symmetric matrix `[d, d]`, with NaN on the diagonal and for columns with a single category.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> counts = jnp.array([30.0, 10.0, 10.0, 30.0])
    >>> model = jaxem.Single(jaxem.Bernoulli())
    >>> fit = jaxem.fit(model, x, weights=counts, key=jax.random.key(0))
    >>> round(float(jaxem.goodness.bivariate_residuals(model, fit.params, x, counts)[0, 1]), 2)
    20.0
    """
    require_concrete("jaxem.goodness.bivariate_residuals", "model.log_prob", data=data, weights=weights, params=params)
    data, weights, params, _ = for_question(model, params, data, weights)
    probabilities = category_probabilities(model, params)
    structure: Any = model.structure  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(structure, One | Weights) or not hasattr(data, "ndim"):
        raise MissingCapabilityError(
            "bivariate residuals take a Mixture or a Single, and a table of codes [rows, columns] without labels"
        )
    x, count = counted(data, weights, "two-way tables take")
    require_codes(x, codes_of(model, params, x.shape[1:]))
    own: Any = structure.split(params)[0]
    share = np.ones(1) if isinstance(structure, One) else np.asarray(own[0], float)
    codes = x.astype(int)
    d, found = x.shape[1], np.full((x.shape[1], x.shape[1]), np.nan)
    for i in range(d):
        for j in range(i):
            first, second = probabilities[i], probabilities[j]
            expected = count.sum() * np.einsum("k,kr,ks->rs", share, first, second)
            observed = np.zeros_like(expected)
            np.add.at(observed, (codes[:, i], codes[:, j]), count)
            found[i, j] = found[j, i] = _over_degrees_of_freedom(observed, expected)
    return found


def _over_degrees_of_freedom(observed: np.ndarray, expected: np.ndarray) -> float:
    # Categories that the model excludes are none, unless they occur.
    rows, columns = (expected.sum(axis) + observed.sum(axis) > 0 for axis in (1, 0))
    observed, expected = observed[rows][:, columns], expected[rows][:, columns]
    freedom = (observed.shape[0] - 1) * (observed.shape[1] - 1)
    if not freedom:
        return float("nan")
    apart = (observed - expected) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(apart > 0, apart / expected, 0)
    return float(each.sum() / freedom)
