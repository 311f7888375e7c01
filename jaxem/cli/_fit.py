"""`jaxem fit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxem.cli._errors import CommandError, one_line, reported
from jaxem.cli._kinds import KINDS
from jaxem.cli._output import staged_folder
from jaxem.cli._picture import draw
from jaxem.cli._precision import precision
from jaxem.cli._progress import progress_bar
from jaxem.cli._report import report
from jaxem.cli._store import FORMAT, dump, encode_fit
from jaxem.cli._tables import Table, check_finite, choose, read_table
from jaxem.cli._use import assignments, posterior, scaled
from jaxem.cli._version import version


@dataclass(frozen=True)
class FitRequest:
    """The options of `jaxem fit`."""

    data: str | None
    model: str
    components: str | None
    criterion: str
    covariance: str
    columns: str | None
    standardize: bool
    restarts: int
    seed: int
    dtype: str
    tol: float | None
    max_steps: int
    out: Path
    quiet: bool

    def __post_init__(self):
        for name, low in (("restarts", 1), ("max_steps", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise CommandError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least {low}")
        if self.tol is not None and not (np.isfinite(self.tol) and self.tol >= 0):
            raise CommandError(f"--tol {self.tol}: must be a finite number, at least 0")
        if self.standardize and not KINDS[self.model].continuous:
            raise CommandError(f"--standardize: the columns of a {self.model} cannot be shifted and scaled")

    @property
    def tolerance(self) -> float:
        return self.tol if self.tol is not None else {"float64": 1e-9, "float32": 1e-6}[self.dtype]


class Candidate(NamedTuple):
    """One number of components: its row in the table of criteria, and the best of its starts unless all failed."""

    row: dict[str, Any]
    model: Any = None
    fit: Any = None


def run_fit(request: FitRequest) -> None:
    """Fit, choose, write, report."""
    counts = None if request.components is None else parse_components(request.components)
    table = _read(request)
    counts = counts or range(1, min(6, len(table.values)) + 1)
    if counts[-1] > len(table.values):
        raise CommandError(f"--components {request.components}: {table.name} has only {len(table.values)} rows")
    with staged_folder(request.out) as stage, precision(request.dtype), reported():
        shift, scale = standardization(table) if request.standardize else (np.zeros(1), np.ones(1))
        x = scaled(table.values, shift, scale, request.dtype)
        options = KINDS[request.model].options(request.covariance, x)
        with progress_bar(request.quiet) as track:
            candidates = [fit_one(request, x, k, options, track) for k in counts]
        row, model, fit = choose_by(request.criterion, candidates)
        responsibilities = posterior(model, fit.params, x)
        labels = responsibilities.argmax(1)
        document = {
            "format": FORMAT,
            "version": version(),
            "data": table.name,
            "num_rows": len(x),
            "columns": list(table.columns),
            "model": request.model,
            "num_components": row["num_components"],
            "covariance": options.get("covariance"),
            "options": options,
            **encode_fit(fit),
            **{name: row[name] for name in ("bic", "aic", "icl", "num_parameters", "best_found")},
            "best_within": same_optimum(request.tolerance, len(x)),
            "criterion": request.criterion,
            "criteria": [candidate.row for candidate in candidates],
            "coordinates": "standardized: (x - shift) / scale" if request.standardize else "data",
            "standardize": {"shift": shift.tolist(), "scale": scale.tolist()} if request.standardize else None,
            **{name: getattr(request, name) for name in ("dtype", "seed", "tolerance", "max_steps")},
        }
        (stage / "fit.json").write_text(dump(document), encoding="utf-8")
        assignments(responsibilities).write_csv(stage / "assignments.csv")
        picture = draw(document, fit.params, table.values, labels, shift, scale)
        picture.savefig(stage / "fit.png")
    if not request.quiet:
        report(Console(), document, fit.params, labels, shift, scale, request.out)


def parse_components(text: str) -> range:
    """`"3"` or `"1:6"` as a range."""
    low, colon, high = text.partition(":")
    try:
        first, last = int(low), int(high if colon else low)
    except ValueError:
        raise CommandError(f"--components {text}: write a number, such as 3, or a range, such as 1:6") from None
    if first < 1:
        raise CommandError(f"--components {text}: must be at least 1")
    if last < first:
        raise CommandError(f"--components {text}: the range is empty: write it as LO:HI with LO <= HI")
    return range(first, last + 1)


def standardization(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column."""
    shift, scale = table.values.mean(0), table.values.std(0)
    # The standard deviation of equal numbers need not come out as exactly 0.
    constant = np.ptp(table.values, axis=0) == 0
    if constant.any():
        name = table.columns[int(constant.argmax())]
        raise CommandError(f"--standardize: column {name!r} is constant: leave it out with --columns")
    return shift, scale


def fit_one(request: FitRequest, x: np.ndarray, k: int, options: dict[str, Any], track: Any) -> Candidate:
    """The best of the starts with `k` components."""
    import jax

    import jaxem

    model = KINDS[request.model].build(k, **options)
    try:
        fit = jaxem.fit(
            model,
            x,
            key=jax.random.key(request.seed),
            restarts=request.restarts,
            tol=request.tolerance,
            max_steps=request.max_steps,
            progress=track(f"k = {k}"),
        )
    except jaxem.FitError as error:
        return Candidate({"num_components": k, "bic": None, "aic": None, "icl": None, "status": one_line(error)})
    found = np.asarray(fit.restarts.objective) >= float(fit.objective) - same_optimum(request.tolerance, len(x))
    row = {
        "num_components": k,
        "log_likelihood": float(fit.log_likelihood),
        "num_parameters": int(model.num_parameters(fit.params)),
        "bic": float(jaxem.bic(model, fit.params, x)),
        "aic": float(jaxem.aic(model, fit.params, x)),
        "icl": float(jaxem.icl(model, fit.params, x)),
        "best_found": int(found.sum()),
        "starts": request.restarts,
        "status": jaxem.status_name(fit.status),
    }
    return Candidate(row, model, fit)


def same_optimum(gain: float, n: int) -> float:
    """How far apart two starts that stopped on the way to one optimum may end."""
    return 100 * gain * n


def choose_by(criterion: str, candidates: list[Candidate]) -> Candidate:
    """The candidate with the smallest criterion."""
    usable = [candidate for candidate in candidates if candidate.fit is not None]
    if not usable:
        raise CommandError(candidates[-1].row["status"])
    return min(usable, key=lambda candidate: candidate.row[criterion])


def _read(request: FitRequest) -> Table:
    names = None if request.columns is None else [name.strip() for name in request.columns.split(",")]
    if names is not None and (not all(names) or len(set(names)) < len(names)):
        raise CommandError(f"--columns {request.columns}: must name different columns, separated by commas")
    if request.data is not None:
        table = read_table(request.data, names)
    else:
        from jaxem.datasets import old_faithful

        geyser = old_faithful()
        table = Table(geyser.data, geyser.columns, geyser.name)
        table = table if names is None else choose(table, names)
    check_finite(table)
    return table
