"""`jaxem fit`."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console

from jaxem.cli._ahead import begin_importing
from jaxem.cli._errors import CommandError, one_line, reported
from jaxem.cli._information import Errors, Missing, bootstrapped, errors_of, missing_information
from jaxem.cli._output import staged_folder
from jaxem.cli._painter import Paint, painter
from jaxem.cli._precision import precision
from jaxem.cli._progress import progress_bar
from jaxem.cli._report import report
from jaxem.cli._request import FitRequest
from jaxem.cli._store import FORMAT, dump, encode_fit
from jaxem.cli._tables import Table, check_finite, choose, read_table
from jaxem.cli._use import assignments
from jaxem.cli._version import version
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS


def run_fit(request: FitRequest) -> None:
    """Fit, choose, write, report."""
    with painter() as paint:
        _run_fit(request, paint)


def _run_fit(request: FitRequest, paint: Paint) -> None:
    kind = KINDS[request.model]
    table = read_for(request, kind.missing is not None)
    counts = request.counts(*table.values.shape)
    with staged_folder(request.out) as stage, precision(request.dtype), reported():
        width = table.values.shape[1]
        shift, scale = standardization(table) if request.standardize else (np.zeros(width), np.ones(width))
        x = (table.values - shift) / scale
        options = kind.options_for(x, kind.options(request.covariance, x))
        with progress_bar(request.quiet) as track:
            selection = selected(request, x, counts, options, track)
        rows, model, fit = criteria(request, len(x), counts, selection), selection.best, selection.fit
        row = rows[selection.index]
        cast = x.astype(request.dtype)
        found = kind.assign(model, fit.params, cast)  # by the very program of `jaxem predict`
        gaps = int(np.isnan(x).sum())
        missing = missing_information(model, fit, kind.data(cast), kind.unit) if gaps else Missing(None, None)
        errors = _errors(request, model, fit, kind.data(cast), table.columns)
        filled = kind.fill(model, fit.params, cast) * scale + shift
        shown = np.where(np.isnan(x), filled, table.values)
        view = View(shown, table.columns, found.labels, found.weights, found.values, fit.params, options, shift, scale)
        if errors is not None:
            view = view._replace(bounds=errors.bounds)
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
            "standard_errors": None if errors is None else errors.kept,
            "best_within": same_optimum(request.tolerance, len(x)),
            "criterion": request.criterion,
            "criteria": rows,
            "coordinates": "standardized: (x - shift) / scale" if request.standardize else "data",
            "standardize": {"shift": shift.tolist(), "scale": scale.tolist()} if request.standardize else None,
            **{name: getattr(request, name) for name in ("dtype", "seed", "tolerance", "max_steps")},
        }
        drawn = paint(document, view)
        (stage / "fit.json").write_text(dump(document), encoding="utf-8")
        assignments(found).write_csv(stage / "assignments.csv")
        picture = drawn()
        if picture is not None:
            (stage / "fit.png").write_bytes(picture)
    if request.checkpoint is not None and "stopped" not in {row["status"] for row in rows}:
        request.checkpoint.unlink(missing_ok=True)
    if not request.quiet:
        table.tell("note")
        note = ", embedded data (give a file to fit your own)" if request.data is None else ""
        shown = "" if errors is None else errors.shown
        report(Console(), document, view, request.out, note, picture is not None, shown)


def _errors(request: FitRequest, model: Any, fit: Any, data: Any, columns: Sequence[str]) -> Errors | None:
    """What was asked for of standard errors and of the bootstrap."""
    if not request.standard_errors and request.bootstrap is None:
        return None
    drawn, note = None, ""
    if request.bootstrap is not None:
        # The rows of a table are one sequence, of which there are no others to draw from.
        kind = "parametric" if KINDS[request.model].unit == "state" else "nonparametric"
        with progress_bar(request.quiet, unit="samples") as track:
            drawn, note = bootstrapped(
                model, fit, data, kind, request.bootstrap, request.seed, request.max_steps, track("bootstrap")
            )
    return errors_of(model, fit, data, columns, drawn, note, KINDS[request.model].derived)


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


def selected(
    request: FitRequest, x: np.ndarray, counts: range, options: dict[str, Any], track: Callable[[str], Any]
) -> Any:
    """The best of the starts with each number of components, and which of these is the best."""
    import jax

    import jaxem

    kind = KINDS[request.model]
    models = [kind.build(k, **options) for k in counts]
    # The data are given in full precision, so that `fit` can tell whether float32 is able to hold them.
    with warnings.catch_warnings(action="ignore", category=jaxem.PrecisionWarning), in_numbers_of(counts):
        return jaxem.select(
            models,
            kind.data(x),
            key=jax.random.key(request.seed),
            criterion=request.criterion,
            restarts=request.restarts,
            tol=request.tolerance,
            max_steps=request.max_steps,
            **algorithm_for(models),
            time_limit=request.time_limit,
            checkpoint=request.checkpoint,
            progress=track(f"k = {counts[0]}" if len(counts) == 1 else f"k = {counts[0]} to {counts[-1]}"),
        )


def algorithm_for(models: Sequence[Any]) -> dict[str, Any]:
    """How the models are fitted; each by its own algorithm, without extrapolation, where these differ."""
    import jaxem
    from jaxem._algorithm import default_algorithm

    # The gain of a step says little where EM is slow: 1e-9 may be gained a thousand times over.
    found = [default_algorithm(model) for model in models]
    alike = all(repr(algorithm) == repr(found[0]) for algorithm in found)
    return {
        "algorithm": jaxem.squarem(found[0], tail=True) if alike else None,
        "termination": jaxem.termination.Aitken(),
    }


@contextmanager
def in_numbers_of(counts: range) -> Iterator[None]:
    """Let an error name models by their number of components; not at all if there is one model."""
    import jaxem

    try:
        yield
    except jaxem.FitError as error:
        names = [f"k = {k}" for k in counts]
        told = re.sub(r"models\[(\d+)\]", lambda found: names[int(found[1])], str(error))
        raise CommandError(told if len(counts) > 1 else told.removeprefix(f"{names[0]}: ")) from error


def criteria(request: FitRequest, n: int, counts: range, selection: Any) -> list[dict[str, Any]]:
    """A row for each number of components."""
    rows = []
    for k, fit, row in zip(counts, selection.fits, selection.table, strict=True):
        own = {"num_components": k, **{name: row[name] for name in ("bic", "aic", "icl")}}
        if KINDS[request.model].unit == "factor":
            own["icl"] = None  # rows have no components
        if fit is None:
            rows.append({**own, "status": one_line(row["status"])})
            continue
        distance = np.abs(np.asarray(fit.restarts.objective, float) - float(fit.objective))
        rows.append(
            {
                **own,
                "log_likelihood": row["log_likelihood"],
                "num_parameters": row["num_parameters"],
                "best_found": int((distance <= same_optimum(request.tolerance, n)).sum()),
                "starts": request.restarts,
                "status": row["status"],
            }
        )
    return rows


def same_optimum(tolerance: float, n: int) -> float:
    """How far apart two starts that stopped on the way to one optimum may end."""
    return max(1e-6, 10 * tolerance) * n


def read_for(request: FitRequest, missing: bool) -> Table:
    """The table that was asked for, which may have missing cells or not."""
    begin_importing("jax", "jaxem.models", "jaxem.selection")
    if request.data is not None:
        table = read_table(request.data, request.column_names, header=request.header, encoding=request.encoding)
        table.tell("warning")
    else:
        from jaxem.datasets import old_faithful

        geyser = old_faithful()
        table = Table(geyser.data, geyser.columns, geyser.name)
        table = table if request.column_names is None else choose(table, request.column_names)
    check_finite(table, missing)
    return table
