"""The options of `jaxem fit`, checked."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxem._text import quoted
from jaxem.cli._errors import CommandError
from jaxem.cli.kinds import COVARIANCES, KINDS

CRITERIA = ("bic", "aic", "icl")
TOLERANCES = {"float64": 1e-9, "float32": 1e-6}
LARGEST = 2**31 - 1  # of the integers that options take


@dataclass(frozen=True)
class FitRequest:
    """The options of `jaxem fit`; values that no data could make sense of are refused here."""

    data: str | None
    model: str
    components: str | None
    covariance: str
    columns: str | None
    header: bool | None
    encoding: str | None
    restarts: int
    seed: int
    dtype: str
    tol: float | None
    max_steps: int
    quiet: bool
    criterion: str = "bic"
    standardize: bool = False
    out: Path = Path()
    standard_errors: bool = False
    bootstrap: int | None = None
    time_limit: float | None = None
    checkpoint: Path | None = None
    resume: bool = False

    def __post_init__(self):
        known = {"model": KINDS, "criterion": CRITERIA, "covariance": COVARIANCES, "dtype": TOLERANCES}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise CommandError(f"--{name} {getattr(self, name)}: use one of {', '.join(values)}")
        for name, low in (("restarts", 1), ("max_steps", 1), ("seed", 0)):
            if not low <= getattr(self, name) <= LARGEST:
                bound = f"least {low}" if getattr(self, name) < low else f"most {LARGEST}"
                raise CommandError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at {bound}")
        if self.bootstrap is not None and not 2 <= self.bootstrap <= LARGEST:
            raise CommandError(f"--bootstrap {self.bootstrap}: must be at least 2 and at most {LARGEST}")
        if self.tol is not None and not (np.isfinite(self.tol) and self.tol >= 0):
            raise CommandError(f"--tol {self.tol}: must be a finite number, at least 0")
        if self.time_limit is not None and not self.time_limit > 0:
            raise CommandError(f"--time-limit {self.time_limit}: must be a positive number of seconds")
        if self.resume and self.checkpoint is None:
            raise CommandError("--resume: say which file to go on from, with --checkpoint FILE")
        if self.checkpoint is not None and self.checkpoint.exists() and not self.resume:
            raise CommandError(f"--checkpoint {self.checkpoint}: exists; go on from it with --resume, or remove it")
        if self.standardize and not KINDS[self.model].continuous:
            raise CommandError(f"--standardize: the columns of a {self.model} cannot be shifted and scaled")
        if self.criterion == "icl" and KINDS[self.model].unit == "factor":
            raise CommandError(f"--criterion icl: the rows of a {self.model} have no components; use bic or aic")
        check_encoding(self.encoding)
        if self.data is None and (self.header is not None or self.encoding is not None):
            raise CommandError("--header, --no-header and --encoding are for a file: give one")
        names = self.column_names
        if names is not None and (not names or not all(names) or len(set(names)) < len(names)):
            raise CommandError(f"--columns {self.columns}: must name different columns, separated by commas")
        self.counts(None)

    @property
    def tolerance(self) -> float:
        """Distance of the objective from its extrapolated limit, per row, at which a start stops."""
        return TOLERANCES[self.dtype] if self.tol is None else self.tol

    @property
    def column_names(self) -> list[str] | None:
        """Names between commas; one in double quotes may hold commas itself."""
        if self.columns is None:
            return None
        rows = list(csv.reader([self.columns], skipinitialspace=True))
        return [name.strip() for name in rows[0]] if rows else []

    def counts(self, num_rows: int | None, num_columns: int | None = None) -> range:
        """The numbers of components to try; without `--components`, 1 to 5 but no more than the table allows."""
        kind = KINDS[self.model]
        limit = num_rows or 5
        if kind.most is not None and num_columns is not None:
            limit = min(limit, kind.most(num_columns))
            if limit < 1:
                raise CommandError(f"--model {self.model}: one column has nothing in common with others")
        if self.components is None:
            return range(1, min(5, limit) + 1)
        counts = parse_components(self.components)
        if num_rows is not None and counts[-1] > num_rows:
            raise CommandError(f"--components {self.components}: there are only {num_rows} rows")
        if num_rows is not None and counts[-1] > limit:
            raise CommandError(
                f"--components {self.components}: {num_columns} columns have at most {limit} {kind.unit}s"
            )
        return counts


def check_encoding(name: str | None) -> None:
    """Refuse what is no encoding of text."""
    try:
        "a".encode(name or "utf-8").decode(name or "utf-8")
    except (LookupError, ValueError) as error:
        known = "such as utf-8, latin-1, cp1252 or utf-16"
        raise CommandError(f"--encoding {quoted(name)}: is no encoding of text: use one {known}") from error


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
