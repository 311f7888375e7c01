"""`jaxem select`."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from jaxem._text import plain
from jaxem.cli._ahead import begin_importing
from jaxem.cli._errors import CommandError, one_line, reported
from jaxem.cli._fit import algorithm_for, read_for
from jaxem.cli._output import staged_file
from jaxem.cli._picture import rendered
from jaxem.cli._precision import precision
from jaxem.cli._progress import progress_bar
from jaxem.cli._report import plain_table
from jaxem.cli._request import CRITERIA, FitRequest
from jaxem.cli._tables import write_frame
from jaxem.cli.kinds import KINDS


@dataclasses.dataclass(frozen=True)
class SelectRequest:
    """The options of `jaxem select`: a request for each kind of model and structure, which have all else in common."""

    kinds: tuple[FitRequest, ...]
    criterion: str
    folds: int
    one_standard_error: bool
    out: Path | None
    picture: Path | None

    def __post_init__(self):
        if self.criterion not in (*CRITERIA, "cv"):
            raise CommandError(f"--criterion {self.criterion}: use one of {', '.join((*CRITERIA, 'cv'))}")
        if self.one_standard_error and self.criterion != "cv":
            raise CommandError("--one-standard-error: is for --criterion cv")
        if self.picture is not None and self.picture.suffix.lower() != ".png":
            raise CommandError(f"--picture {self.picture}: must end in .png")
        if len({KINDS[request.model].data for request in self.kinds}) > 1:
            names = ",".join(dict.fromkeys(request.model for request in self.kinds))
            raise CommandError(f"--model {names}: rows are steps of a sequence for some, and rows for others")


class Candidate(NamedTuple):
    """A model to choose from, and what the table says of it."""

    model: Any
    kind: str
    covariance: str
    size: int


def run_select(request: SelectRequest) -> None:
    """Fit all, say which one the criterion prefers, and write the table and the picture that were asked for."""
    first = request.kinds[0]
    table = read_for(first, all(KINDS[own.model].missing is not None for own in request.kinds))
    with precision(first.dtype), reported():
        begin_importing("jaxem.plot")
        candidates = _candidates(request, table.values)
        with progress_bar(first.quiet) as track:
            selection = _selected(request, candidates, table.values, track(f"{len(candidates)} models"))
        frame = _frame(candidates, selection)
        if request.picture is not None:
            _write_picture(request.picture, candidates, selection)
    if request.out is not None:
        write_frame(frame, request.out)
    if not first.quiet:
        table.tell("note")
        _report(Console(), table.name, candidates, selection)


def _candidates(request: SelectRequest, x: np.ndarray) -> list[Candidate]:
    found: list[Candidate] = []
    for own in request.kinds:
        kind = KINDS[own.model]
        options = kind.options_for(x, kind.options(own.covariance, x))
        covariance = options.get("covariance", "")
        if any(each.kind == own.model and each.covariance == covariance for each in found):
            continue
        found += [Candidate(kind.build(k, **options), own.model, covariance, k) for k in own.counts(*x.shape)]
    return found


def _selected(request: SelectRequest, candidates: list[Candidate], x: np.ndarray, progress: Any) -> Any:
    import jax

    import jaxem

    first = request.kinds[0]
    # The data are given in full precision, so that `fit` can tell whether float32 is able to hold them.
    with warnings.catch_warnings(action="ignore", category=jaxem.PrecisionWarning):
        return jaxem.select(
            [each.model for each in candidates],
            KINDS[first.model].data(x),
            key=jax.random.key(first.seed),
            criterion=request.criterion,
            folds=request.folds,
            one_standard_error=request.one_standard_error,
            restarts=first.restarts,
            tol=first.tolerance,
            max_steps=first.max_steps,
            progress=progress,
            **algorithm_for([each.model for each in candidates]),
        )


def _frame(candidates: list[Candidate], selection: Any) -> Any:
    """The table of all models; a column that no model has is left out."""
    import polars

    crossed = ("cv", "cv_standard_error") if selection.criterion == "cv" else ()
    rows = [
        {
            "model": each.kind,
            "covariance": each.covariance or None,
            "components": each.size,
            **{name: row[name] for name in ("log_likelihood", "num_parameters", *CRITERIA, *crossed)},
            "chosen": row["model"] == selection.index,
            "status": _status(row),
        }
        for each, row in zip(candidates, selection.table, strict=True)
    ]
    return polars.DataFrame(rows, infer_schema_length=None)


def _status(row: dict[str, Any]) -> str:
    """In words, with the folds that failed."""
    failed = [f"fold {fold}: {name.replace('_', ' ')}" for fold, name in row.get("failed_folds", {}).items()]
    return "; ".join([one_line(row["status"]).replace("_", " "), *failed])


def _report(console: Console, name: str, candidates: list[Candidate], selection: Any) -> None:
    crossed = selection.criterion == "cv"
    what = "cross-validation (CV: log density of a row left out; larger" if crossed else selection.criterion.upper()
    console.print(Text(plain(name), "bold"), soft_wrap=True)
    console.print(f"\n[bold]Chosen by {what}[/]{' is better)' if crossed else ' (smaller is better)'}")
    table = plain_table()
    heads = ["k", "log-\nlikelihood", "para-\nmeters", "BIC", "AIC", "ICL", *(["CV"] if crossed else [])]
    for head in ("model", "covariance"):
        table.add_column(head, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("status", overflow="fold")
    for each, row in zip(candidates, selection.table, strict=True):
        chosen = row["model"] == selection.index
        cells = [_cell(row[column], ".4f" if column == "log_likelihood" else ".2f") for column in _COLUMNS]
        cells[1] = "-" if row["num_parameters"] is None else str(row["num_parameters"])
        if crossed:
            cells.append(f"{_cell(row['cv'], '.4f')} ± {_cell(row['cv_standard_error'], '.4f')}")
        k = f"{'* ' if chosen else ''}{each.size}"
        title = KINDS[each.kind].title
        table.add_row(title, each.covariance, k, *cells, Text(_status(row)), style="bold" if chosen else None)
    console.print(table)
    best = candidates[selection.index]
    shape = f" --covariance {best.covariance}" if best.covariance else ""
    console.print(f"\njaxem fit --model {best.kind} --components {best.size}{shape} fits it again.", soft_wrap=True)


_COLUMNS = ("log_likelihood", "num_parameters", "bic", "aic", "icl")


def _cell(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _write_picture(path: Path, candidates: list[Candidate], selection: Any) -> None:
    def draw() -> Any:
        from matplotlib.figure import Figure

        from jaxem.plot import selection as picture

        figure = Figure(figsize=(7, 4.6), dpi=144, layout="constrained", facecolor="white")
        names = [" ".join(filter(None, (KINDS[each.kind].title, each.covariance))) for each in candidates]
        picture(figure.subplots(), selection, names=names)
        return figure

    found = rendered(draw, path.name)
    if found is not None:
        with staged_file(path) as stage:
            stage.write_bytes(found)
