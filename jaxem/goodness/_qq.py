"""`qq`: sorted values against the quantiles that a distribution has in their place."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from jaxem._errors import DataError
from jaxem._traced import require_concrete


@dataclasses.dataclass(frozen=True)
class QQ:
    """The result of `qq`.

    **Attributes:**

    - `theoretical`: `[m]`, the quantiles of the distribution.
    - `sample`: `[m]`, the values in order.
    - `lower`, `upper`: `[m]`, between which each value lies with probability `level`, one at a time.
    - `level`: of the band.
    """

    theoretical: Float[np.ndarray, " m"]
    sample: Float[np.ndarray, " m"]
    lower: Float[np.ndarray, " m"]
    upper: Float[np.ndarray, " m"]
    level: float


def qq(values: Any, quantile: Callable[[Any], Any] | None = None, *, level: float = 0.95) -> QQ:
    """Sorted values, and the quantiles that a distribution has where they stand.

    The `i`-th of `m` values stands at the probability `(i - a) / (m + 1 - 2 a)`, with `a` of 3/8 for up to ten values
    and 1/2 for more, as in R. The band is that of the order statistics of `m` independent draws: the `i`-th of uniform
    ones has a beta distribution of shapes `i` and `m + 1 - i` (David and Nagaraja 2003).

    **Arguments:**

    - `values`: an array of any shape, such as residuals; NaN is left out.
    - `quantile`: the quantile function of the distribution, of arrays of probabilities; that of a standard normal
        variable unless it is given. `lambda p: jaxem.goodness.quantile(model, params, p)` is that of a fitted model.
    - `level`: of the band.

    **Returns:** a `QQ`, which `jaxem.plot.qq` draws.

    **Example**

    >>> import numpy as np, jaxem
    >>> found = jaxem.goodness.qq([0.2, -1.0, 1.4])
    >>> found.sample.tolist(), [round(float(value), 2) for value in found.theoretical]
    ([-1.0, 0.2, 1.4], [-0.87, 0.0, 0.87])
    """
    require_concrete("jaxem.goodness.qq", "jaxem.goodness.quantile", values=values)
    if not 0 < level < 1:
        raise DataError(f"level must lie between 0 and 1, got {level!r}")
    sample = np.asarray(values, float).reshape(-1)
    sample = np.sort(sample[~np.isnan(sample)])
    m = len(sample)
    if not m:
        raise DataError("values has none that is a number")
    rank, a = np.arange(1, m + 1), 3 / 8 if m <= 10 else 1 / 2
    of = special.ndtri if quantile is None else quantile
    ends = [special.betaincinv(rank, m + 1 - rank, p) for p in ((1 - level) / 2, (1 + level) / 2)]
    theoretical, lower, upper = (np.asarray(of(p), float) for p in ((rank - a) / (m + 1 - 2 * a), *ends))
    return QQ(theoretical, sample, lower, upper, level)
