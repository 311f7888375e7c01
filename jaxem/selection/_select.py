"""`select`: several models fitted to the same data, and the one that a criterion prefers."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from jaxem._algorithm import Algorithm
from jaxem._arguments import as_count, require_key, require_kind
from jaxem._errors import DataError, FitError, MissingCapabilityError
from jaxem._model import AbstractModel
from jaxem._solve import Fit
from jaxem._status import status_name
from jaxem._traced import require_concrete
from jaxem.engine.checkpoint import Keeper
from jaxem.engine.convert import as_data
from jaxem.engine.stop import Stop
from jaxem.record import Progress
from jaxem.selection._sweep import Found, Options, fit_all
from jaxem.selection.criteria import num_observations, total_entropy
from jaxem.termination import AbstractTermination

_NOT_ASKED = ("progress", "time_limit", "checkpoint")  # which the result does not depend on
CRITERIA = ("bic", "aic", "icl")
_SOUND = ("converged", "completed", "max_steps_reached", "stopped")


@dataclasses.dataclass(frozen=True)
class Selection:
    """The result of `select`.

    **Attributes:**

    - `models`, `fits`: the models in the order given, and their fits (`None` where all starts failed).
    - `table`: a dictionary for each model: `model` (its number), `log_likelihood`, `num_parameters`, `bic`, `aic`,
        `icl` (`None` without discrete latents), the chosen `criterion` and `status`, which is the reason where all
        starts failed. `pandas.DataFrame(selection.table)` shows it.
    - `index`: the number of the model chosen.
    - `best`, `fit`: that model, and its fit.
    """

    models: tuple[Any, ...]
    fits: tuple[Fit | None, ...]
    table: tuple[dict[str, Any], ...]
    index: int

    @property
    def best(self) -> Any:
        """The model chosen."""
        return self.models[self.index]

    @property
    def fit(self) -> Fit:
        """Its fit."""
        chosen = self.fits[self.index]
        assert chosen is not None
        return chosen


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
    time_limit: float | None = None,
    checkpoint: Any = None,
) -> Selection:
    """Fits several models to the same data and chooses the one with the smallest criterion.

    Mixtures that differ in their number of components alone share one search, so that a range of numbers compiles one
    program; their fits are those that `jaxem.fit` finds with the same key, to rounding. That is so under EM,
    accelerated or not, for mixtures without priors and frozen parameters that start by k-means++, where compilations
    take longer than the members that runs do not have. Others are fitted one by one.

    **Arguments:**

    - `models`: models of the same data, such as `[jaxem.GaussianMixture(k) for k in range(1, 6)]`.
    - `criterion`: `"bic"`, `"aic"`, `"icl"`, or a function of `(model, params, data, weights)`: less is better.
    - `data`, `key`, `restarts`, `algorithm`, `weights`, `tol`, `max_steps`, `termination`, `progress`, `lanes`: as for
        `jaxem.fit`, for each model. `progress` hears of one search after the other; models that share one count as one.
    - `time_limit`, `checkpoint`: as for `jaxem.fit`, of the whole call. A model that was never begun is listed as such.

    **Returns:** a `Selection`. A fit that is degenerate, inaccurate or fell is chosen only where there is no other, and
    one whose criterion is NaN never.

    **Raises:** `DataError` (a `ValueError`) for data and arguments that cannot be used; `FitError` if every start of
    every model failed.

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
    if not callable(criterion) and criterion not in CRITERIA:
        raise DataError(f"criterion: no criterion {criterion!r}; choose from {', '.join(CRITERIA)}, or pass a function")
    require_kind("algorithm", algorithm, Algorithm, "jaxem.squarem()")
    require_kind("termination", termination, AbstractTermination, "jaxem.termination.Gain()")
    restarts, max_steps = as_count("restarts", restarts), as_count("max_steps", max_steps, least=0)
    options = Options(key, restarts, algorithm, tol, max_steps, termination, progress, lanes, stop)
    keeper = None
    if checkpoint is not None:
        asked = {"models": models, "data": as_data(data), "weights": weights, **options._asdict()}
        keeper = Keeper(checkpoint, {name: value for name, value in asked.items() if name not in _NOT_ASKED})
    with stop.interruptible():
        found = fit_all(models, data, weights, options, keeper)
    rows = [
        _row(i, model, each, data, weights, criterion)
        for i, (model, each) in enumerate(zip(models, found, strict=True))
    ]
    fitted = [row for row in rows if row["criterion"] is not None]
    if not fitted:
        raise FitError("; ".join(f"models[{row['model']}]: {row['status']}" for row in rows))
    if all(np.isnan(row["criterion"]) for row in fitted):
        raise DataError("criterion is NaN for every model")
    fitted = [row for row in fitted if not np.isnan(row["criterion"])]
    sound = [row for row in fitted if row["status"] in _SOUND]
    best = min(sound or fitted, key=lambda row: row["criterion"])
    return Selection(models, tuple(each.fit for each in found), tuple(rows), best["model"])


def _row(number: int, model: Any, found: Found, data: Any, weights: Any, criterion: Any) -> dict[str, Any]:
    if found.fit is None or found.asked is None:
        nothing = dict.fromkeys(("log_likelihood", "num_parameters", *CRITERIA, "criterion"))
        return {"model": number, **nothing, "status": found.reason}
    asked, params = found.asked
    log_likelihood, p = float(found.fit.log_likelihood), int(model.num_parameters(found.fit.params))
    bic = -2 * log_likelihood + p * float(np.log(num_observations(asked, data, weights)))
    try:
        icl = bic + 2 * float(total_entropy(asked, params, data, weights))
    except MissingCapabilityError:
        icl = None
    row = {"log_likelihood": log_likelihood, "num_parameters": p, "bic": bic, "aic": 2 * p - 2 * log_likelihood}
    row = {**row, "icl": icl}
    chosen: Any = criterion(model, found.fit.params, data, weights) if callable(criterion) else row[criterion]
    if chosen is None:
        raise DataError(f"criterion='icl': models[{number}] has no discrete latents; use 'bic' or 'aic'")
    return {"model": number, **row, "criterion": float(chosen), "status": status_name(found.fit.status)}
