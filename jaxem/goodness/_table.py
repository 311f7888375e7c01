"""Tables of patterns of categories: the statistics of a fit, and their test by samples of the model."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, require_key
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._status import failed
from jaxem._traced import require_concrete
from jaxem.engine.door import for_question
from jaxem.engine.programs import program
from jaxem.engine.stop import Stop
from jaxem.goodness._levels import Codes, codes_of, counted, require_codes
from jaxem.goodness._weighted_chi2 import p_value
from jaxem.record import Progress
from jaxem.resampling._draws import simulated
from jaxem.resampling._rounds import WORDS, refitted, some

_CELLS = 2**16  # so many are worked out, to count those that expect few
_FEW = 5.0
_AT_A_TIME = 64  # samples whose rows are looked at side by side


@dataclasses.dataclass(frozen=True)
class TableFit:
    """The result of `table_fit`.

    **Attributes:**

    - `g2`: the likelihood-ratio statistic, twice the sum of `observed * log(observed / expected)`.
    - `x2`: Pearson's statistic, over all cells: those that were not observed count with what is expected of them.
    - `cressie_read`: the power divergence with exponent 2/3 (Cressie and Read 1984).
    - `degrees_of_freedom`: cells less 1 less parameters; not positive where the model has as many as the table.
    - `g2_p_value`, `x2_p_value`, `cressie_read_p_value`: of the chi-square distribution; NaN without degrees of
        freedom.
    - `dissimilarity`: the share of observations that would have to be in other cells for a perfect fit.
    - `patterns` `[m, d]` (`[m, T, d]` of sequences), `observed` `[m]`, `expected` `[m]`: the patterns that occur, in
        order, with counts and what the model expects of them.
    - `num_cells`: how many patterns there can be, without categories that are estimated never to occur.
    - `num_sparse`: how many of them expect fewer than 5 observations.
    - `num_observations`, `num_parameters`: the total of the counts, and what the model estimates.
    - `notes`: what stands in the way of the p values.
    """

    g2: float
    x2: float
    cressie_read: float
    degrees_of_freedom: int
    g2_p_value: float
    x2_p_value: float
    cressie_read_p_value: float
    dissimilarity: float
    patterns: Float[np.ndarray, "m ..."] = dataclasses.field(repr=False)
    observed: Float[np.ndarray, " m"] = dataclasses.field(repr=False)
    expected: Float[np.ndarray, " m"] = dataclasses.field(repr=False)
    num_cells: int
    num_sparse: int
    num_observations: float
    num_parameters: int
    notes: tuple[str, ...] = ()

    @property
    def residuals(self) -> Float[np.ndarray, " m"]:
        """Pearson residuals of the patterns that occur, `(observed - expected) / sqrt(expected)`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.observed - self.expected) / np.sqrt(self.expected)


def table_fit(model: AbstractModel, params: PyTree, data: Any, weights: Any = None, *, levels: Any = None) -> TableFit:
    """Compares the counts of all patterns of categories with those that a fitted model expects.

    For latent classes, and all models whose observations are one of a finite number of patterns: mixtures of
    `jaxem.Categorical`, `jaxem.Bernoulli` and a `jaxem.Product` of these, hidden Markov models of them with sequences
    of one length, and with `levels` any model with a `log_prob` of rows. Statistics are those of Bishop, Fienberg and
    Holland (1975); Linzer and Lewis (2011) print them for poLCA.

    Chi-square holds where nearly all cells expect 5 observations or more. Of a sparse table the statistics still order
    models, but the p values mean little: `table_test` has some by samples, and `jaxem.likelihood_ratio_test` compares
    models by samples.

    **Arguments:**

    - `model`, `params`: a model and the maximum of its likelihood.
    - `data`: rows `[n, d]` of codes from 0 on (`[n, T, d]` for sequences), without missing entries.
    - `weights`: how often each row occurs, `[n]`.
    - `levels`: how many categories each column has, `[d]`, where the family does not say.

    **Returns:** a `TableFit`.

    **Raises:** `MissingCapabilityError` where the categories are not known; `DataError` for rows with missing entries.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> counts = jnp.array([30.0, 10.0, 10.0, 30.0])
    >>> model = jaxem.Single(jaxem.Bernoulli())
    >>> fit = jaxem.fit(model, x, weights=counts, key=jax.random.key(0))
    >>> found = jaxem.goodness.table_fit(model, fit.params, x, counts)
    >>> round(found.x2, 2), round(found.g2, 2), found.degrees_of_freedom
    (20.0, 20.93, 1)
    """
    require_concrete("jaxem.goodness.table_fit", "model.log_prob", data=data, weights=weights, params=params)
    data, weights, params, _ = for_question(model, params, data, weights)
    if not hasattr(data, "ndim"):
        raise DataError(f"data must be a table of codes [rows, columns], got {type(data).__name__}")
    x, count = counted(data, weights, "a table of patterns takes")
    each = codes_of(model, params, x.shape[1:], levels)
    flat = x.reshape(len(x), -1)
    require_codes(flat, each)
    patterns, place = np.unique(flat, axis=0, return_inverse=True)
    observed = np.bincount(place.reshape(-1), count)
    total = float(observed.sum())
    expected = total * _probabilities(model, params, patterns, x)
    cells, sparse, notes = _cells(model, params, each, x, total, expected)
    parameters = int(model.num_parameters(params))
    df = cells - 1 - parameters
    if df < 1:
        notes.append(f"the model has {parameters} parameters and the table {cells} cells: there is no test")
    g2, x2, cressie_read = statistics(observed, expected)
    p_values = [p_value(value, df) for value in (g2, x2, cressie_read)]
    apart = float(np.abs(observed - expected).sum() + max(total - expected.sum(), 0)) / (2 * total)
    return TableFit(
        g2=g2,
        x2=x2,
        cressie_read=cressie_read,
        degrees_of_freedom=df,
        g2_p_value=p_values[0],
        x2_p_value=p_values[1],
        cressie_read_p_value=p_values[2],
        dissimilarity=apart,
        patterns=patterns.reshape(-1, *x.shape[1:]),
        observed=observed,
        expected=expected,
        num_cells=cells,
        num_sparse=sparse,
        num_observations=total,
        num_parameters=parameters,
        notes=tuple(notes),
    )


def statistics(observed: np.ndarray, expected: np.ndarray) -> tuple[float, float, float]:
    """Over the patterns that occur; `sum(expected)` over all cells is `sum(observed)`."""
    rest = max(observed.sum() - expected.sum(), 0.0)
    with np.errstate(divide="ignore"):
        ratio = observed / expected
        g2 = 2 * np.sum(observed * np.log(ratio))
        x2 = np.sum((observed - expected) ** 2 / expected) + rest
        cressie_read = 9 / 5 * np.sum(observed * (ratio ** (2 / 3) - 1))
    return float(g2), float(x2), float(cressie_read)


def _probabilities(model: Any, params: PyTree, patterns: np.ndarray, like: np.ndarray) -> np.ndarray:
    rows = patterns.reshape(-1, *like.shape[1:]).astype(like.dtype)
    return np.exp(np.asarray(model.log_prob(params, jax.device_put(rows)), float))


def _cells(
    model: Any, params: PyTree, each: tuple[Codes, ...], like: np.ndarray, total: float, expected: np.ndarray
) -> tuple[int, int, list[str]]:
    """How many cells there are, how many of them expect few observations, and what is to be said of it."""
    cells, notes = math.prod(len(own.possible) for own in each), []
    if cells <= _CELLS:
        grid = np.meshgrid(*(own.possible for own in each), indexing="ij")
        codes = np.stack([axis.reshape(-1) for axis in grid], 1)
        parts = [_probabilities(model, params, part, like) for part in np.array_split(codes, -(-cells // 4096))]
        sparse = int(np.sum(total * np.concatenate(parts) < _FEW))
    else:
        sparse = cells - int(np.sum(expected >= _FEW))
        notes.append("num_sparse takes patterns that do not occur to expect fewer than 5 observations")
    if sparse > cells / 5:
        notes.append(
            f"{sparse} of {cells} cells expect fewer than 5 observations: the statistics are far from chi-square"
        )
    if (expected <= 0).any():
        notes.append("the model rules out a pattern that occurs")
    return cells, sparse, notes


@dataclasses.dataclass(frozen=True)
class TableTest:
    """The result of `table_test`.

    **Attributes:**

    - `fit`: what `table_fit` says of the data.
    - `g2_p_value`, `x2_p_value`, `cressie_read_p_value`: the share of samples with as large a statistic.
    - `g2_p_value_error`, `x2_p_value_error`, `cressie_read_p_value_error`: their Monte Carlo standard errors.
    - `g2`, `x2`, `cressie_read`: the statistics of the samples, `[b]`.
    - `num_failed`: samples whose refit did not converge. They are among the `b`, and one without a number counts as
        exceeding the statistic.
    """

    fit: TableFit
    g2_p_value: float
    x2_p_value: float
    cressie_read_p_value: float
    g2_p_value_error: float
    x2_p_value_error: float
    cressie_read_p_value_error: float
    g2: Float[np.ndarray, " b"] = dataclasses.field(repr=False)
    x2: Float[np.ndarray, " b"] = dataclasses.field(repr=False)
    cressie_read: Float[np.ndarray, " b"] = dataclasses.field(repr=False)
    num_failed: int = 0


def table_test(
    model: AbstractModel,
    params: PyTree,
    data: Any,
    weights: Any = None,
    *,
    key: PRNGKeyArray,
    replicates: int = 999,
    restarts: int = 0,
    levels: Any = None,
    algorithm: Algorithm | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    time_limit: float | None = None,
) -> TableTest:
    """P values of the statistics of `table_fit` by a parametric bootstrap, for sparse tables.

    Samples are drawn from the model at `params`, and the model is fitted again to each of them (Collins, Fidler,
    Wugalter and Long 1993; Langeheine, Pannekoek and van de Pol 1996). Chi-square is not asked for.

    **Arguments:**

    - `model`, `params`, `data`, `weights`, `levels`: as for `table_fit`; weights are frequencies.
    - `key`: a JAX random key. The same key gives the same samples.
    - `replicates`: how many samples.
    - `restarts`: how many starts each refit has besides `params`.
    - `algorithm`, `tol`, `max_steps`, `progress`, `lanes`: as for `jaxem.fit_many`.
    - `time_limit`: seconds after which no more samples are begun. Those that were, at least two, are fitted to the end
        and count, as after an interrupt.

    **Returns:** a `TableTest`. The p value is `(1 + b) / (1 + B)` if `b` of `B` samples have as large a statistic.

    **Raises:** what `table_fit` raises; `MissingCapabilityError` where the model does not say how to draw such data.

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> counts, model = jnp.array([11.0, 10.0, 10.0, 12.0]), jaxem.Single(jaxem.Bernoulli())
    >>> fit = jaxem.fit(model, x, weights=counts, key=jax.random.key(0))
    >>> test = jaxem.goodness.table_test(model, fit.params, x, counts, key=jax.random.key(1), replicates=99)
    >>> round(test.fit.g2, 2), test.g2_p_value > 0.5
    (0.21, True)
    """
    require_key(key)
    replicates, restarts = as_count("replicates", replicates), as_count("restarts", restarts, least=0)
    found = table_fit(model, params, data, weights, levels=levels)
    data, weights, params, _ = for_question(model, params, data, weights)
    of_samples, of_starts = jax.random.split(key)
    samples = simulated(model, params, data, weights, of_samples, replicates, "table_test")
    values, failures, stop = [], [], Stop.draining(time_limit)
    common: dict[str, Any] = {"algorithm": algorithm, "tol": tol, "max_steps": max_steps, "lanes": lanes}
    asked: dict[str, Any] = {"key": of_starts, "init": params, "restarts": 1 + restarts, "progress": progress, **common}
    with stop.interruptible(WORDS):
        for sample, kept, fits in refitted(model, samples, replicates, False, stop, **asked):
            rows = some(sample["data"], kept)
            log_prob = np.asarray(_log_probs(model, fits.params, rows), float)
            values.append([_of_sample(x, each) for x, each in zip(rows, log_prob, strict=True)])
            failures.append(failed(fits.status))
    drawn = np.concatenate(values).T
    given = np.array([found.g2, found.x2, found.cressie_read])
    p = (1 + np.sum(~(drawn < given[:, None]), 1)) / (1 + drawn.shape[1])
    error = np.sqrt(p * (1 - p) / drawn.shape[1])
    return TableTest(found, *p.tolist(), *error.tolist(), *drawn, num_failed=int(np.concatenate(failures).sum()))


@program(quickly=True)
def _log_probs(model: Any, params: PyTree, data: Array) -> Float[Array, "b n"]:
    """The log density of the rows of each sample, at parameters of its own."""
    return jax.lax.map(lambda one: model.log_prob(*one), (params, data), batch_size=_AT_A_TIME)


def _of_sample(x: np.ndarray, log_prob: np.ndarray) -> tuple[float, float, float]:
    """The statistics of one sample, whose rows have these log densities."""
    _, first, count = np.unique(x.reshape(len(x), -1), axis=0, return_index=True, return_counts=True)
    return statistics(count.astype(float), len(x) * np.exp(log_prob[first]))
