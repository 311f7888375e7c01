"""`table_test`: whether a model describes a table of patterns, by samples from it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, require_key
from jaxem._model import AbstractModel
from jaxem._status import failed
from jaxem.engine.door import for_question
from jaxem.engine.programs import program
from jaxem.engine.stop import Stop
from jaxem.goodness._table import TableFit, statistics, table_fit
from jaxem.record import Progress
from jaxem.resampling._rounds import WORDS, at_a_time, overall, refits
from jaxem.resampling._simulated import simulated


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
    - `time_limit`: seconds after which no more samples are begun; those that were done count, as after an interrupt.

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
    samples = simulated(model, params, data, weights, of_samples, replicates, "table_test", at_a_time(replicates))
    values, failures, done, stop = [], [], 0, Stop.of(time_limit)
    with stop.interruptible(WORDS):
        for number, (block, sample) in enumerate(samples):
            fits = refits(
                model,
                sample,
                len(block),
                together=False,
                key=jax.random.fold_in(of_starts, number),
                init=params,
                restarts=1 + restarts,
                algorithm=algorithm,
                tol=tol,
                max_steps=max_steps,
                progress=overall(progress, stop, done * (1 + restarts), replicates * (1 + restarts)),
                lanes=lanes,
                time_limit=Stop.never(),
            )
            log_prob = np.asarray(_log_probs(model, fits.params, sample["data"]), float)
            rows = zip(np.asarray(sample["data"]), log_prob, strict=True)
            values.append([_of_sample(x, each) for x, each in rows])
            failures.append(failed(fits.status))
            done += len(log_prob)
            if stop.now:
                break
    drawn = np.concatenate(values).T
    given = np.array([found.g2, found.x2, found.cressie_read])
    p = (1 + np.sum(~(drawn < given[:, None]), 1)) / (1 + drawn.shape[1])
    error = np.sqrt(p * (1 - p) / drawn.shape[1])
    return TableTest(found, *p.tolist(), *error.tolist(), *drawn, num_failed=int(np.concatenate(failures).sum()))


@program(quickly=True)
def _log_probs(model: Any, params: PyTree, data: Array) -> Float[Array, "b n"]:
    """The log density of the rows of each sample, at parameters of its own."""
    return jax.vmap(model.log_prob)(params, data)


def _of_sample(x: np.ndarray, log_prob: np.ndarray) -> tuple[float, float, float]:
    """The statistics of one sample, whose rows have these log densities."""
    _, first, count = np.unique(x.reshape(len(x), -1), axis=0, return_index=True, return_counts=True)
    return statistics(count.astype(float), len(x) * np.exp(log_prob[first]))
