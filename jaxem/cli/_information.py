"""Standard errors, and for tables with missing cells how much of the information is missing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_FEW, _MOST = 100, 1000  # parameters for which the rate matrix is computed in any case, and at most


class Missing(NamedTuple):
    """The worst `fraction` of missing information, or `None`, and a `note` that says what it counts, or why there
    is none; no note for a table that lacks nothing."""

    fraction: float | None
    note: str | None


def missing_information(model: Any, fit: Any, data: Any, unit: str) -> Missing:
    """The largest of `jaxem.information.rate_eigenvalues` but those of directions in which the likelihood is flat.

    The rotations of factors are such directions, and so are probabilities at 0 or 1, such as those of the first state
    of a sequence. `unit` is what the model hides besides cells.
    """
    import jaxem

    status = jaxem.status_name(fit.status)
    if status != "converged":
        return Missing(None, f"not computed: the fit ended with status {status}, and only one that converged has it")
    size = int(model.num_parameters(fit.params))
    # A parameter takes a pass over the data, or what a few steps take.
    limit = min(max(int(np.sum(fit.restarts.num_steps)), _FEW), _MOST)
    if size > limit:
        return Missing(None, f"not computed: too costly for {size} parameters (more than {limit})")
    try:
        eigenvalues = jaxem.information.rate_eigenvalues(model, fit.params, data)
    except np.linalg.LinAlgError:
        return Missing(None, "not computed: its rate matrix is not finite at these parameters")
    rotations = len(eigenvalues) - size
    flat = max(rotations, int(np.sum(eigenvalues > 1 - _rounding(fit))))
    if flat == len(eigenvalues):
        return Missing(None, "none: the likelihood is flat in all directions")
    others = flat - rotations
    left_out = f"; {others} flat direction{'s' * (others > 1)} of the likelihood left out" if others else ""
    return Missing(max(float(eigenvalues[flat]), 0.0), _hidden(model, unit) + left_out)


def table_of(model: Any, fit: Any, data: Any, columns: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The estimates with standard errors and intervals, for `fit.json` and as text."""
    import jaxem

    summary = jaxem.summary(model, fit, data, columns=list(columns))
    table = [{name: _written(value) for name, value in row.items()} for row in summary.table]
    return {"level": summary.level, "why": summary.why, "table": table}, str(summary)


def _written(value: Any) -> Any:
    """As JSON can hold it: a bound that is not finite is none."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _hidden(model: Any, unit: str) -> str:
    """Only dependent columns make hidden variables of missing cells; otherwise the likelihood just goes without."""
    import jaxem

    if isinstance(model.distribution, jaxem.Incomplete):
        return f"hidden: missing cells and {unit}s"
    return f"hidden: {unit}s, while missing cells are left out"


def _rounding(fit: Any) -> float:
    """How far below 1 an eigenvalue may come out that is 1."""
    return max(1e-6, 1e4 * float(np.finfo(np.asarray(fit.objective).dtype).eps))
