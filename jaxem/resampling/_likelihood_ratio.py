"""`likelihood_ratio_test`: whether one model fits better than another by more than chance."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy import special

from jaxem._algorithm import Algorithm, default_algorithm
from jaxem._arguments import as_count, require_key, require_kind
from jaxem._errors import DataError
from jaxem._fit import fit
from jaxem._model import AbstractModel
from jaxem._solve import Fit
from jaxem._status import failed, status_name
from jaxem._traced import require_concrete
from jaxem.engine.convert import as_data
from jaxem.engine.door import count_rows, for_question
from jaxem.engine.stop import Stop
from jaxem.record import Progress
from jaxem.resampling._draws import simulated
from jaxem.resampling._rounds import (
    WORDS,
    at_a_time,
    done_of,
    ended,
    of_samples,
    overall,
    refits,
    require_same,
    sharing,
    some,
)
from jaxem.termination import Racing, default_tolerance

METHODS = ("bootstrap", "wilks")
_BLOCK = 64  # samples at a time where the test may stop before the last


class LocalOptimumWarning(UserWarning):
    """A fit of the alternative that is worse than that of the null hypothesis, which it contains."""


@dataclasses.dataclass(frozen=True)
class LikelihoodRatioTest:
    """The result of `likelihood_ratio_test`.

    **Attributes:**

    - `statistic`: twice the difference of the log-likelihoods.
    - `p_value`: the probability of as large a statistic under the null hypothesis.
    - `p_value_error`: the Monte Carlo standard error of it; 0 for `"wilks"`.
    - `degrees_of_freedom`: how many parameters the alternative has more.
    - `method`: `"bootstrap"` or `"wilks"`.
    - `null`, `alternative`: the fits.
    - `replicates`: statistics of the samples, in the order in which they were drawn.
    - `num_failed`: samples of which a refit did not converge. They are among `replicates`, and one without a number
        counts as exceeding the statistic.
    - `num_negative`: samples in which the alternative's refit is worse than the null's by more than `tol` explains: a
        sign that `restarts` are too few.
    - `stopped`: whether `stop_after` ended it before the last sample.
    """

    statistic: float
    p_value: float
    p_value_error: float
    degrees_of_freedom: int
    method: str
    null: Fit = dataclasses.field(repr=False)
    alternative: Fit = dataclasses.field(repr=False)
    replicates: Float[np.ndarray, " b"] = dataclasses.field(repr=False)
    num_failed: int = 0
    num_negative: int = 0
    stopped: bool = False


def likelihood_ratio_test(
    null: AbstractModel,
    alternative: AbstractModel,
    data: Any,
    *,
    key: PRNGKeyArray,
    method: str = "bootstrap",
    replicates: int = 999,
    restarts: int = 10,
    stop_after: int | None = None,
    weights: Any = None,
    algorithm: Algorithm | None = None,
    tol: float | None = None,
    max_steps: int = 1000,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    racing: Racing | None = None,
    time_limit: float | None = None,
    together: bool = False,
) -> LikelihoodRatioTest:
    """Tests a model against one that contains it, such as `k` components against `k + 1`.

    Both are fitted, and the statistic is twice the difference of their log-likelihoods. By default its distribution is
    found by a parametric bootstrap (McLachlan 1987): samples are drawn from the fit of the null hypothesis, and both
    models are fitted to each of them, all samples and starts in the lanes of one program for each model. That is valid
    where chi-square is not: for numbers of components and states, and parameters on a bound.

    **Arguments:**

    - `null`, `alternative`: models of the same data, of which the second contains the first.
    - `data`, `weights`: as for `jaxem.fit`; for the bootstrap, weights are frequencies.
    - `key`: a JAX random key. The same key gives the same answer.
    - `method`: `"bootstrap"`, or `"wilks"`: the chi-square distribution, for models with the same number of members of
        which the null hypothesis is no bound (Wilks 1938).
    - `replicates`: how many samples at most.
    - `restarts`: how many starts each fit has; those to samples start from the parameters of the fits to the data, too.
    - `stop_after`: stop once so many samples exceed the statistic: what is not significant is known soon (Besag and
        Clifford 1991). 10 or 20, for instance.
    - `algorithm`, `tol`, `max_steps`, `progress`, `lanes`, `racing`: as for `jaxem.fit`. `progress` hears of the fits
        to the data one after the other, and then of all fits to samples. With a race, most starts end early.
    - `time_limit`: seconds after which no more samples are begun. Those that were, at least two, are fitted to the end
        by both models, whatever time they take, and the p value is theirs; after an interrupt (Ctrl-C) as well.
    - `together`: true where several processes share the samples out, as in `jaxem.bootstrap`.

    **Returns:** a `LikelihoodRatioTest`. Of `B` samples of which `b` exceed the statistic the p value is
    `(1 + b) / (1 + B)`; where `stop_after=h` ended it at sample `l` it is `h / l`. Refits that fail are counted, not
    left out. If the alternative's fit is worse than the null's, it is a local optimum: there is a
    `LocalOptimumWarning`, and the statistic is negative.

    **Raises:** `DataError` for wrong arguments; `MissingCapabilityError` where the null hypothesis does not say how to
    draw such data; `FitError` if all starts of a fit to the data fail.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> one, two = jaxem.GaussianMixture(1), jaxem.GaussianMixture(2)
    >>> test = jaxem.likelihood_ratio_test(one, two, x, key=jax.random.key(0), replicates=19, restarts=4)
    >>> round(test.statistic), test.degrees_of_freedom, test.p_value
    (319, 6, 0.05)
    """
    require_concrete("jaxem.likelihood_ratio_test", "jaxem.solve", data=data, weights=weights)
    require_key(key)
    for name, model in (("null", null), ("alternative", alternative)):
        require_kind(name, model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("racing", racing, Racing, "jaxem.termination.Racing()")
    replicates, restarts = as_count("replicates", replicates), as_count("restarts", restarts)
    stop_after = None if stop_after is None else as_count("stop_after", stop_after, most=replicates)
    if method not in METHODS:
        raise DataError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if method == "wilks":
        _require_members(null, alternative)
    of_fits, of_draws, of_starts = jax.random.split(key, 3)
    require_same(together, null, alternative, data, weights, key, replicates, restarts, stop_after, algorithm)
    common: dict[str, Any] = {
        "algorithm": algorithm,
        "tol": tol,
        "max_steps": max_steps,
        "lanes": lanes,
        "racing": racing,
        "time_limit": Stop.never(),
    }
    pair, fits = (null, alternative), []
    for number, model in enumerate(pair):
        own = jax.random.fold_in(of_fits, number)
        starts = _starts_of(model, algorithm, restarts)
        fits.append(fit(model, data, key=own, restarts=starts, weights=weights, progress=progress, **common))
    more = int(alternative.num_parameters(fits[1].params)) - int(null.num_parameters(fits[0].params))
    total = float(count_rows(as_data(data)) if weights is None else np.sum(np.asarray(weights, float)))
    statistic, slack = _statistic(fits, total, tol)
    if statistic < -slack:
        warnings.warn(
            f"the fit of the alternative ({status_name(fits[1].status)}) is worse than that of the null hypothesis, by "
            f"{-statistic / 2:.3g}: it is a local optimum, or the alternative does not contain the null hypothesis; "
            f"raise restarts={restarts}",
            LocalOptimumWarning,
            stacklevel=2,
        )
    test = LikelihoodRatioTest(float(statistic), 1.0, 0.0, more, method, fits[0], fits[1], np.zeros(0))
    if method == "wilks":
        if more < 1:
            raise DataError(f"alternative has {more} parameters more than null: it must have at least one")
        return dataclasses.replace(test, p_value=float(special.chdtrc(more, max(statistic, 0.0))))

    data, weights, params, _ = for_question(null, fits[0].params, data, weights)
    most = at_a_time(replicates, together) if stop_after is None else _BLOCK
    share = sharing(together)
    samples = simulated(null, params, data, weights, of_draws, replicates, "the null hypothesis", most, share)
    starts, stop = [1 + _starts_of(model, algorithm, restarts) for model in pair], Stop.draining(time_limit)

    def of_block(number: int, size: int, sample: dict[str, Any], done: int, i: int, until: Stop) -> Fit:
        return refits(
            pair[i],
            sample,
            size,
            together,
            key=jax.random.fold_in(of_starts, 2 * number + i),
            init=fits[i].params,
            restarts=starts[i],
            progress=overall(progress, stop, done, replicates * sum(starts)),
            **{**common, "time_limit": until},
        )

    def tested_blocks() -> Iterator[_Refits]:
        done = 0
        for number, (block, sample) in enumerate(samples):
            # The larger model, which takes most of the time, is the one that ends early.
            high = of_block(number, len(block), sample, done, 1, stop)
            kept = done_of(high)
            # Of those that processes share out each has a part, and fits all of it.
            sample, size = (sample, len(block)) if together else (of_samples(sample, kept), len(kept))
            low = of_block(number, size, sample, done + len(kept) * starts[1], 0, Stop.never())
            own = [some(low, kept) if together else low, some(high, kept)]
            values, slack = _statistic(own, total, tol)
            yield _Refits(values, failed(own[0].status) | failed(own[1].status), values < -slack)
            done += len(kept) * sum(starts)
            if ended(stop, together):
                return

    with stop.interruptible(WORDS):
        return _counted(test, tested_blocks(), stop_after)


class _Refits(NamedTuple):
    """Statistics of samples, where a refit failed, and where the alternative's is worse."""

    values: np.ndarray
    failed: np.ndarray
    negative: np.ndarray


def _counted(test: LikelihoodRatioTest, blocks: Iterator[_Refits], stop_after: int | None) -> LikelihoodRatioTest:
    """The test with its p value, from blocks of samples: no more of them than it takes."""
    found, exceeded, stopped = [], 0, False
    for block in blocks:
        found.append(block)
        exceeded += int(np.sum(~(block.values < test.statistic)))
        stopped = stop_after is not None and exceeded >= stop_after
        if stopped:
            break
    values, failures, negative = map(np.concatenate, zip(*found, strict=True))
    p = (1 + exceeded) / (1 + len(values))
    if stop_after is not None and stopped:
        last = int(np.flatnonzero(np.cumsum(~(values < test.statistic)) == stop_after)[0]) + 1
        values, failures, negative, p = values[:last], failures[:last], negative[:last], stop_after / last
    return dataclasses.replace(
        test,
        p_value=p,
        p_value_error=float(np.sqrt(p * (1 - p) / len(values))),
        replicates=values,
        num_failed=int(failures.sum()),
        num_negative=int(negative.sum()),
        stopped=stopped,
    )


def _statistic(fits: list[Fit], total: float, tol: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Twice the difference of the log-likelihoods, and what of it fits that stop within a tolerance may lack."""
    low, high = (np.asarray(one.log_likelihood, float) for one in fits)
    dtype = fits[0].log_likelihood.dtype
    each = default_tolerance(dtype) if tol is None else tol
    return 2 * (high - low), 20 * each * total + 200 * float(jnp.finfo(dtype).eps) * np.abs(low)


def _starts_of(model: Any, algorithm: Algorithm | None, restarts: int) -> int:
    """Of a model with one fixed start all would be the same."""
    draws = (algorithm or default_algorithm(model)).draws
    return 1 if model.fixed_start and not draws else restarts


def _require_members(null: Any, alternative: Any) -> None:
    """Raise `DataError` where the null hypothesis has fewer members: a weight on its bound of 0."""
    low, high = (getattr(model, "num_members", 1) for model in (null, alternative))
    if low != high:
        raise DataError(
            f"method='wilks': null has {low} members and alternative {high}, so that the null hypothesis lies on a "
            "bound, where the statistic is not chi-square; use method='bootstrap'"
        )
