"""What `select` returns, and how the table decides."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxem._errors import DataError, FitError
from jaxem._extras import optional
from jaxem._solve import Fit

if TYPE_CHECKING:
    import pandas

SOUND = ("converged", "completed", "max_steps_reached", "stopped")


@dataclasses.dataclass(frozen=True)
class Selection:
    """The result of `select`.

    **Attributes:**

    - `models`, `fits`: the models in the order given, and their fits to all data (`None` where all starts failed).
    - `table`: a dictionary for each model: `model` (its number), `log_likelihood`, `num_parameters`, `bic`, `aic`,
        `icl` (`None` without discrete latents), the chosen `criterion` (less is better) and `status`, which is the
        reason where all starts failed. Under cross-validation also `cv`, the log density of an observation that was
        left out, `cv_standard_error`, and `failed_folds`, a dictionary of the statuses of those that failed.
    - `index`: the number of the model chosen.
    - `criterion`: what it was chosen by.
    - `folds`: the fold of each observation under cross-validation, `[n]` (-1 for weight 0); else `None`.
    - `best`, `fit`: the model chosen, and its fit.
    """

    models: tuple[Any, ...]
    fits: tuple[Fit | None, ...]
    table: tuple[dict[str, Any], ...]
    index: int
    criterion: str = "criterion"
    folds: np.ndarray | None = None

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

    def to_dataframe(self) -> "pandas.DataFrame":
        """`table` as a pandas data frame, a row for each model.

        **Raises:** `ModuleNotFoundError` without pandas.
        """
        return optional("pandas", "Selection.to_dataframe", "pip install pandas").DataFrame(list(self.table))


def chosen(rows: Sequence[dict[str, Any]], one_standard_error: bool) -> int:
    """The number of the model with the least criterion, or of the smallest within a standard error of that.

    What is not sound is chosen only where there is no other; a fold that failed makes it so, and is warned of.
    """
    fitted = [row for row in rows if row["criterion"] is not None]
    if not fitted:
        raise FitError("; ".join(f"models[{row['model']}]: {row['status']}" for row in rows))
    if all(np.isnan(row["criterion"]) for row in fitted):
        folds = [f"models[{row['model']}]: {_failures(row)}" for row in fitted if row.get("failed_folds")]
        if folds:
            raise FitError(f"folds of every model failed: {'; '.join(folds)}")
        raise DataError("criterion is NaN for every model")
    fitted = [row for row in fitted if not np.isnan(row["criterion"])]
    sound = [row for row in fitted if row["status"] in SOUND and not row.get("failed_folds")]
    pool = sound or fitted
    best = min(pool, key=lambda row: row["criterion"])
    if one_standard_error:
        limit = best["criterion"] + best["cv_standard_error"]
        near = [row for row in pool if row["criterion"] <= limit]
        best = min(near or [best], key=lambda row: (row["num_parameters"], row["criterion"]))
    if best.get("failed_folds"):
        warnings.warn(f"models[{best['model']}] is chosen although {_failures(best)}", RuntimeWarning, stacklevel=3)
    return best["model"]


def _failures(row: dict[str, Any]) -> str:
    return ", ".join(f"fold {fold} ended {status}" for fold, status in row["failed_folds"].items())
