"""`rootogram`: how often each count occurs, and how often a model expects it."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._traced import require_concrete
from jaxem.engine.convert import float_dtype
from jaxem.engine.door import for_question
from jaxem.goodness._mixed import Mixed, mixed

STYLES = ("hanging", "standing", "suspended")
_BLOCK = 2**20  # probabilities held at a time


@dataclasses.dataclass(frozen=True)
class Rootogram:
    """The result of `rootogram`.

    **Attributes:**

    - `counts`: `[m]`, the integers 0, 1, ...
    - `observed`, `expected`: `[m]`, how often each occurs, and how often the model expects it.
    """

    counts: Float[np.ndarray, " m"]
    observed: Float[np.ndarray, " m"]
    expected: Float[np.ndarray, " m"]

    def bars(self, style: str = "hanging") -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Where the bars begin and how high they are, on the scale of square roots.

        `"standing"`: the observed frequency, from 0. `"hanging"`: the same, hung from the expected one, so that bars
        miss 0 by the difference. `"suspended"`: the difference alone, expected less observed, from 0 (Tukey 1977;
        Kleiber and Zeileis 2016).
        """
        if style not in STYLES:
            raise DataError(f"style must be one of {', '.join(map(repr, STYLES))}, got {style!r}")
        observed, expected = np.sqrt(self.observed), np.sqrt(self.expected)
        if style == "standing":
            return np.zeros_like(observed), observed
        if style == "hanging":
            return expected - observed, observed
        return np.zeros_like(observed), expected - observed


def rootogram(
    model: AbstractModel, params: PyTree, data: Any, weights: Any = None, *, column: Any = 0, most: int | None = None
) -> Rootogram:
    """Frequencies of counts with those that a fitted model expects, the sum of the probabilities of all rows.

    **Arguments:**

    - `model`, `params`: a fitted `Single`, `Mixture` or `MixtureOfExperts` of counts, regressions included.
    - `data`, `weights`: as for `fit`; weights are frequencies.
    - `column`: which column of the rows; see `jaxem.goodness.density`.
    - `most`: the largest count in the result; the largest that occurs unless it is given.

    **Returns:** a `Rootogram`. Kleiber and Zeileis (2016), Visualizing count data regressions using rootograms.

    **Raises:** `DataError` for values that are no counts; `MissingCapabilityError` as `jaxem.goodness.density`.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> model = jaxem.Single(jaxem.Poisson())
    >>> params = jaxem.families.PoissonParams(jnp.array([1.0]))
    >>> found = jaxem.goodness.rootogram(model, params, jnp.array([[0.0], [0.0], [1.0], [3.0]]))
    >>> found.observed.tolist(), [round(float(value), 2) for value in found.expected]
    ([2.0, 1.0, 0.0, 1.0], [1.47, 1.47, 0.74, 0.25])
    """
    require_concrete("jaxem.goodness.rootogram", "jaxem.goodness.density", data=data, weights=weights, params=params)
    data, weights, params, _ = for_question(model, params, data, weights)
    found, values = mixed(model, params, column, data)
    if not found.distribution.discrete:
        raise DataError(f"column {column!r} has a density and no counts; see jaxem.goodness.qq for other values")
    low, high = np.asarray(values.lower), np.asarray(values.upper)
    count = np.ones(len(low)) if weights is None else np.asarray(weights, float)
    known = (low == high) & (count > 0)
    if not known.any():
        raise DataError(f"column {column!r} has no value in a row of positive weight")
    top = int(low[known].max()) if most is None else as_count("most", most)
    counts = np.arange(top + 1)
    inside = known & (low <= top)
    observed = np.bincount(low[inside].astype(int), count[inside], minlength=top + 1)
    each = jnp.asarray(np.where(known, count, 0), float_dtype(params))
    at_once = max(1, _BLOCK // (len(low) * found.log_weights.shape[0]))
    parts = np.array_split(counts.astype(float), -(-len(counts) // at_once))
    expected = [np.asarray(_expected(found, jnp.asarray(part, each.dtype), each), float) for part in parts]
    return Rootogram(counts.astype(float), observed, np.concatenate(expected))


@eqx.filter_jit
def _expected(found: Mixed, counts: Float[Array, " m"], weights: Float[Array, " n"]) -> Float[Array, " m"]:
    def one(count: Array) -> Array:
        return jnp.sum(weights * jnp.exp(found.log_density(jnp.broadcast_to(count, weights.shape))))

    return eqx.filter_vmap(one)(counts)
