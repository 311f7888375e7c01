"""`jaxem fit`."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxem.cli._errors import CommandError, one_line, reported
from jaxem.cli._information import Missing, missing_information
from jaxem.cli._output import staged_folder
from jaxem.cli._picture import draw, rendered
from jaxem.cli._precision import precision
from jaxem.cli._progress import progress_bar
from jaxem.cli._report import report
from jaxem.cli._request import FitRequest
from jaxem.cli._store import FORMAT, dump, encode_fit
from jaxem.cli._tables import Table, check_finite, choose, read_table
from jaxem.cli._use import assignments
from jaxem.cli._version import version
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS, Kind

_SOUND = ("converged", "completed", "max_steps_reached")


class Candidate(NamedTuple):
    """One number of components: its row in the table of criteria, and the best of its starts unless all failed."""

    row: dict[str, Any]
    model: Any = None
    fit: Any = None


def run_fit(request: FitRequest) -> None:
    """Fit, choose, write, report."""
    table, kind = _read(request), KINDS[request.model]
    counts = request.counts(*table.values.shape)
    with staged_folder(request.out) as stage, precision(request.dtype), reported():
        width = table.values.shape[1]
        shift, scale = standardization(table) if request.standardize else (np.zeros(width), np.ones(width))
        x = (table.values - shift) / scale
        options = kind.options_for(x, kind.options(request.covariance, x))
        with progress_bar(request.quiet) as track:
            candidates = [fit_one(request, x, k, options, track) for k in counts]
        row, model, fit = choose_by(request.criterion, candidates)
        cast = x.astype(request.dtype)
        found = kind.assign(model, fit.params, cast)
        gaps = int(np.isnan(x).sum())
        missing = missing_information(model, fit, kind.data(cast), kind.unit) if gaps else Missing(None, None)
        filled = kind.fill(model, fit.params, cast) * scale + shift
        shown = np.where(np.isnan(x), filled, table.values)
        view = View(shown, table.columns, found.labels, found.weights, found.values, fit.params, options, shift, scale)
        document = {
            "format": FORMAT,
            "version": version(),
            "data": table.name,
            "num_rows": len(x),
            "columns": list(table.columns),
            "table": table.reading,
            "missing_cells": gaps,
            "model": request.model,
            "num_components": row["num_components"],
            "covariance": options.get("covariance"),
            "options": options,
            **encode_fit(fit),
            **{name: row[name] for name in ("bic", "aic", "icl", "num_parameters", "best_found")},
            "missing_information": missing.fraction,
            "missing_information_note": missing.note,
            "best_within": same_optimum(request.tolerance, len(x)),
            "criterion": request.criterion,
            "criteria": [candidate.row for candidate in candidates],
            "coordinates": "standardized: (x - shift) / scale" if request.standardize else "data",
            "standardize": {"shift": shift.tolist(), "scale": scale.tolist()} if request.standardize else None,
            **{name: getattr(request, name) for name in ("dtype", "seed", "tolerance", "max_steps")},
        }
        (stage / "fit.json").write_text(dump(document), encoding="utf-8")
        assignments(found).write_csv(stage / "assignments.csv")
        picture = rendered(lambda: draw(document, view))
        if picture is not None:
            (stage / "fit.png").write_bytes(picture)
    if not request.quiet:
        table.tell("note")
        note = ", embedded data (give a file to fit your own)" if request.data is None else ""
        report(Console(), document, view, request.out, note, picture is not None)


def standardization(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column."""
    # A column without any value is for the model to refuse.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        # The standard deviation of equal numbers need not come out as exactly 0.
        constant = np.nanmax(table.values, 0) == np.nanmin(table.values, 0)
        if constant.any():
            name = table.columns[int(constant.argmax())]
            raise CommandError(f"--standardize: column {name!r} is constant: leave it out with --columns")
        return np.nanmean(table.values, 0), np.nanstd(table.values, 0)


def fit_one(
    request: FitRequest, x: np.ndarray, k: int, options: dict[str, Any], track: Callable[[str], Any]
) -> Candidate:
    """The best of the starts with `k` components."""
    import jax

    import jaxem
    from jaxem._algorithm import default_algorithm

    kind = KINDS[request.model]
    model = kind.build(k, **options)
    try:
        # The data are given in full precision, so that `fit` can tell whether float32 is able to hold them.
        with warnings.catch_warnings(action="ignore", category=jaxem.PrecisionWarning):
            fit: Any = jaxem.fit(
                model,
                kind.data(x),
                key=jax.random.key(request.seed),
                restarts=request.restarts,
                tol=request.tolerance,
                max_steps=request.max_steps,
                algorithm=jaxem.squarem(default_algorithm(model), tail=True),
                # The gain of a step says little where EM is slow: 1e-9 may be gained a thousand times over.
                termination=jaxem.termination.Aitken(),
                progress=track(f"k = {k}"),
            )
    except jaxem.FitError as error:
        return Candidate({"num_components": k, "bic": None, "aic": None, "icl": None, "status": one_line(error)})
    data = kind.data(x.astype(request.dtype))
    distance = np.abs(np.asarray(fit.restarts.objective, float) - float(fit.objective))
    found = distance <= same_optimum(request.tolerance, len(x))
    row = {
        "num_components": k,
        "log_likelihood": float(fit.log_likelihood),
        "num_parameters": int(model.num_parameters(fit.params)),
        "bic": float(jaxem.bic(model, fit.params, data)),
        "aic": float(jaxem.aic(model, fit.params, data)),
        "icl": _icl(kind, model, fit.params, data),
        "best_found": int(found.sum()),
        "starts": request.restarts,
        "status": jaxem.status_name(fit.status),
    }
    return Candidate(row, model, fit)


def _icl(kind: Kind, model: Any, params: Any, data: Any) -> float | None:
    import jaxem

    return float(jaxem.icl(model, params, data)) if kind.unit != "factor" else None


def same_optimum(tolerance: float, n: int) -> float:
    """How far apart two starts that stopped on the way to one optimum may end."""
    return max(1e-6, 10 * tolerance) * n


def choose_by(criterion: str, candidates: list[Candidate]) -> Candidate:
    """The candidate with the smallest criterion; a spurious likelihood is no argument where there are sound ones."""
    fitted = [candidate for candidate in candidates if candidate.fit is not None]
    if not fitted:
        raise CommandError(candidates[-1].row["status"])
    sound = [candidate for candidate in fitted if candidate.row["status"] in _SOUND]
    usable = sound or fitted
    return min(usable, key=lambda candidate: candidate.row[criterion])


def _read(request: FitRequest) -> Table:
    if request.data is not None:
        table = read_table(request.data, request.column_names, header=request.header, encoding=request.encoding)
        table.tell("warning")
    else:
        from jaxem.datasets import old_faithful

        geyser = old_faithful()
        table = Table(geyser.data, geyser.columns, geyser.name)
        table = table if request.column_names is None else choose(table, request.column_names)
    check_finite(table, KINDS[request.model].missing is not None)
    return table
