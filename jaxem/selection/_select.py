"""`select`: several models fitted to the same data, and the one that a criterion prefers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, require_key, require_kind
from jaxem._errors import DataError
from jaxem._model import AbstractModel
from jaxem._status import status_name
from jaxem._traced import require_concrete
from jaxem.engine.checkpoint import Keeper, Part
from jaxem.engine.convert import as_data, as_weights
from jaxem.engine.door import count_rows
from jaxem.engine.processes import is_shared
from jaxem.engine.shared import of_all_rows
from jaxem.engine.stop import Stop
from jaxem.record import Progress
from jaxem.selection._folds import cross_validated, folds_of
from jaxem.selection._selection import SOUND, Selection, chosen
from jaxem.selection._sweep import Found, Options, fit_all
from jaxem.selection.criteria import entropy_if_discrete, from_numbers, num_observations
from jaxem.termination import AbstractTermination

_NOT_ASKED = ("progress", "time_limit", "checkpoint")  # which the result does not depend on
CRITERIA = ("bic", "aic", "icl")
_WEIGHTS = ("frequencies", "survey")


def select(
    models: Sequence[AbstractModel],
    data: Any,
    *,
    key: PRNGKeyArray,
    criterion: str | Callable[..., Any] = "bic",
    restarts: int = 1,
    algorithm: Algorithm | None = None,
    weights: Any = None,
    tol: float | None = None,
    max_steps: int = 1000,
    termination: AbstractTermination | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    lanes: int | None = None,
    folds: Any = 5,
    one_standard_error: bool = False,
    weights_are: str = "frequencies",
    time_limit: float | None = None,
    checkpoint: Any = None,
) -> Selection:
    """Fits several models to the same data and chooses the one with the smallest criterion.

    Mixtures that differ in their number of components alone share one search, and so do hidden Markov models that
    differ in their number of states: a range of numbers compiles one program. Their fits are those that `jaxem.fit`
    finds with the same key, to rounding. That is so under EM, accelerated or not, for models without priors, patterns
    and frozen parameters that start by k-means++, where compilations take longer than the members that runs do not
    have. Others are fitted one by one.

    **Arguments:**

    - `models`: models of the same data, such as `[jaxem.GaussianMixture(k) for k in range(1, 6)]`.
    - `criterion`: `"bic"`, `"aic"`, `"icl"`, `"cv"` (below), or a function of `(model, params, data, weights)`: less
        is better.
    - `data`, `key`, `restarts`, `algorithm`, `weights`, `tol`, `max_steps`, `termination`, `progress`, `lanes`: as for
        `jaxem.fit`, for each model. `progress` hears of one search after the other; models that share one count as one.
    - `folds`: under `"cv"`, how many parts the observations (rows, or whole sequences) are shared out to at random, or
        a label `[n]` for each observation: those with the same one are left out together.
    - `one_standard_error`: under `"cv"`, choose the model with the fewest parameters of those within one standard error
        of the best (Breiman et al. 1984).
    - `weights_are`: `"frequencies"`, where a weight of `k` counts as `k` rows; or `"survey"`, weights of a sample in
        any unit. For the criteria these are scaled to add up to the effective sample size, the square of their sum
        over the sum of their squares (Kish 1965), so that equal ones count as 1 each. The AIC is that of Lumley and
        Scott (2015), divided by the design effect, where this is Kish's.
    - `time_limit`, `checkpoint`: as for `jaxem.fit`, of the whole call. A model that was never begun is listed as such.

    Under `"cv"` each model is fitted without each fold, by one `jaxem.fit_many` with the same key and restarts, and
    the criterion is minus the log density of the observations left out, for each of them (Smyth 2000). The fits that
    are returned are those to all data.

    Rows may lie with several processes, as for `jaxem.fit`. Weights and labels of folds lie like them, or are those of
    the rows of each process. Folds are then fitted one after the other, by `jaxem.fit`.

    **Returns:** a `Selection`. A fit that is degenerate, inaccurate or fell, or of which a fold did, is chosen only
    where there is no other, and one whose criterion is NaN never.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used; `FitError` if every start of
    every model failed, or a fold of each. A `RuntimeWarning` says if the model that is chosen has folds that failed.

    McLachlan and Peel (2000), chapter 6.

    **Example**

    >>> import jax, jaxem
    >>> x = jaxem.datasets.old_faithful().data.astype("float32")
    >>> models = [jaxem.GaussianMixture(k) for k in range(1, 4)]
    >>> selection = jaxem.select(models, x, key=jax.random.key(0), restarts=16)
    >>> selection.best.num_components, [round(row["bic"]) for row in selection.table]
    (2, [2608, 2322, 2324])
    """
    require_concrete("jaxem.select", "jaxem.solve", models=models, data=data, weights=weights)
    stop = Stop.of(time_limit)
    require_key(key)
    if isinstance(models, AbstractModel):
        raise DataError(f"models is a single model: pass several, such as [{type(models).__name__}(...), ...]")
    models = tuple(models)
    if not models:
        raise DataError("models is empty: give at least one, such as [jaxem.GaussianMixture(k) for k in range(1, 6)]")
    for i, model in enumerate(models):
        require_kind(f"models[{i}]", model, AbstractModel, "jaxem.GaussianMixture(3)", optional=False)
    if not callable(criterion) and criterion not in (*CRITERIA, "cv"):
        known = ", ".join((*CRITERIA, "cv"))
        raise DataError(f"criterion: no criterion {criterion!r}; choose from {known}, or pass a function")
    if weights_are not in _WEIGHTS:
        raise DataError(f"weights_are must be one of {', '.join(map(repr, _WEIGHTS))}, got {weights_are!r}")
    if one_standard_error and criterion != "cv":
        raise DataError('one_standard_error is for criterion="cv": other criteria have no standard error')
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("termination", termination, AbstractTermination, "jaxem.termination.Gain()")
    restarts, max_steps = as_count("restarts", restarts), as_count("max_steps", max_steps, least=0)
    options = Options(key, restarts, algorithm, tol, max_steps, termination, progress, lanes, stop)
    table, keeper, known, parts = as_data(data), None, weights, folds
    if is_shared(table):
        # What is asked of all rows at once; the fits take what each process has.
        known = None if weights is None else of_all_rows("weights", weights, table)
        parts = folds if np.ndim(folds) == 0 else of_all_rows("folds", folds, table)
    if checkpoint is not None:
        asked = {"models": models, "data": table, "weights": known, "folds": parts, **options._asdict()}
        asked["criterion"] = "cv" if criterion == "cv" else "of fits"
        keeper = Keeper(checkpoint, {name: value for name, value in asked.items() if name not in _NOT_ASKED})
    labels = folds_of(parts, key, count_rows(table), known) if criterion == "cv" else None
    scale = 1.0 if known is None or weights_are == "frequencies" else _scale(known, table)
    with stop.interruptible():
        found = fit_all(models, data, weights, options, keeper)
    rows = [
        _row(i, model, each, data, weights, criterion, scale)
        for i, (model, each) in enumerate(zip(models, found, strict=True))
    ]
    if labels is not None:
        with stop.interruptible():
            for i, (model, row) in enumerate(zip(models, rows, strict=True)):
                own = options if keeper is None else options._replace(checkpoint=Part(keeper, f"folds of model {i}"))
                row.update(_left_out(model, data, known, labels, own, row["criterion"] is not None))
    name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "criterion")
    index = chosen(rows, one_standard_error)
    return Selection(models, tuple(each.fit for each in found), tuple(rows), index, name, labels)


def _scale(weights: Any, data: Any) -> float:
    """What survey weights are multiplied with, for them to add up to the effective sample size."""
    w = np.asarray(as_weights(weights, count_rows(data), None), float)
    return float(w.sum() / np.sum(w**2))


def _left_out(model: Any, data: Any, weights: Any, labels: Any, options: Options, fitted: bool) -> dict[str, Any]:
    """The columns of cross-validation; empty for a model that could not be fitted to all data."""
    if not fitted:
        return {"cv": None, "cv_standard_error": None, "failed_folds": {}, "criterion": None}
    whole = tuple(name for name in SOUND if name != "stopped")
    found = cross_validated(model, data, weights, labels, options, whole)
    each = {"cv": found.value, "cv_standard_error": found.standard_error, "failed_folds": found.failed}
    return {**each, "criterion": -found.value}


def _row(
    number: int, model: Any, found: Found, data: Any, weights: Any, criterion: Any, scale: float
) -> dict[str, Any]:
    if found.fit is None or found.asked is None:
        nothing = dict.fromkeys(("log_likelihood", "num_parameters", *CRITERIA, "criterion"))
        return {"model": number, **nothing, "status": found.reason}
    asked, params = found.asked
    log_likelihood, p = float(found.fit.log_likelihood), int(model.num_parameters(found.fit.params))
    entropy = entropy_if_discrete(asked, params, data, weights)
    n = float(num_observations(asked, data, weights))
    scores = from_numbers(scale * log_likelihood, p, scale * n, None if entropy is None else scale * entropy)
    row: dict[str, Any] = {"log_likelihood": log_likelihood, "num_parameters": p, **scores}
    chosen: Any = np.nan if criterion == "cv" else row.get(criterion) if isinstance(criterion, str) else None
    if callable(criterion):
        chosen = criterion(model, found.fit.params, data, weights)
    if chosen is None:
        raise DataError(f"criterion='icl': models[{number}] has no discrete latents; use 'bic' or 'aic'")
    return {"model": number, **row, "criterion": float(chosen), "status": status_name(found.fit.status)}
