"""Options that several commands have, said once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxem.cli._request import CRITERIA, TOLERANCES
from jaxem.cli.kinds import COVARIANCES, KINDS

FORMATS = ".csv, .tsv, either with .gz, .parquet or .npy; - for standard input"


def choice(names: Sequence[str], help: str) -> Any:
    """An option that takes one of these names."""
    return typer.Option(metavar="NAME", help=f"{help}: {', '.join(names)}.")


# What is read

Data = Annotated[
    str | None, typer.Argument(help=f"Table to read ({FORMATS}); without it Old Faithful.", show_default=False)
]
Stored = Annotated[Path, typer.Argument(metavar="MODEL", help="fit.json, or the folder that holds it.")]
Columns = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to use, by name; all by default.")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line holds names; told by its cells by default."),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of a text table, such as latin-1; UTF-8 by default.")
]

# What is fitted

Model = Annotated[str, choice(list(KINDS), "What to fit")]
Covariance = Annotated[str, choice(COVARIANCES, "Structure of Gaussian components")]
Criterion = Annotated[str, choice(CRITERIA, "How to choose from a range")]

# How it is fitted

Restarts = Annotated[int, typer.Option(help="Number of starts, run together.")]
Seed = Annotated[int, typer.Option(help="Of all that is random.")]
Dtype = Annotated[str, choice(list(TOLERANCES), "Precision of the arithmetic")]
Tol = Annotated[float | None, typer.Option(help="Distance from the limit, per row; else 1e-9 (float32: 1e-6).")]
MaxSteps = Annotated[int, typer.Option(help="Stop after this many steps.")]
TimeLimit = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Keep the best found by then; none by default.")
]

# What is written

File = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File to write (.csv, .tsv or .parquet); standard output by default."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
