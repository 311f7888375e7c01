"""The commands and their options, and what becomes of an error."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jaxem._errors import DataError, FitError
from jaxem.cli._errors import say
from jaxem.cli._request import CRITERIA, TOLERANCES, FitRequest
from jaxem.cli._version import version as installed
from jaxem.cli.kinds import COVARIANCES, KINDS

app = typer.Typer(
    help="Fit latent-variable models by expectation-maximization, from hundreds of starts at once.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_FORMATS = ".csv, .tsv, either with .gz, .parquet or .npy; - for standard input"
Stored = Annotated[Path, typer.Argument(metavar="MODEL", help="fit.json, or the folder that holds it.")]
File = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File to write (.csv, .tsv or .parquet); standard output by default."),
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line holds names; told by its cells by default."),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of a text table, such as latin-1; UTF-8 by default.")
]


def _choice(names: Sequence[str], help: str):
    return typer.Option(metavar="NAME", help=f"{help}: {', '.join(names)}.")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
):
    if version:
        print(f"jaxem {installed()}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def fit(
    data: Annotated[
        str | None, typer.Argument(help=f"Table to read ({_FORMATS}); without it Old Faithful.", show_default=False)
    ] = None,
    model: Annotated[str, _choice(list(KINDS), "What to fit")] = "gaussian-mixture",
    components: Annotated[
        str | None,
        typer.Option(metavar="K|LO:HI", help="Number of components, or a range to choose from; else 1:5."),
    ] = None,
    criterion: Annotated[str, _choice(CRITERIA, "How to choose from a range")] = "bic",
    covariance: Annotated[str, _choice(COVARIANCES, "Structure of Gaussian components")] = "full",
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Columns to use, by name; all by default.")
    ] = None,
    header: Header = None,
    encoding: Encoding = None,
    standardize: Annotated[bool, typer.Option("--standardize", help="Fit to (x - mean) / sd of each column.")] = False,
    restarts: Annotated[int, typer.Option(help="Number of starts, run together.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the random starts.")] = 0,
    dtype: Annotated[str, _choice(list(TOLERANCES), "Precision of the arithmetic")] = "float64",
    tol: Annotated[
        float | None,
        typer.Option(help="Distance from the limit, per row; else 1e-9 (float32: 1e-6)."),
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Stop after this many steps.")] = 5000,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Keep the best found by then; none by default.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write down on the way what --resume goes on from; removed in the end."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the file of --checkpoint, if there is one.")
    ] = False,
    standard_errors: Annotated[
        bool, typer.Option("--standard-errors", help="Print and keep standard errors and intervals of the estimates.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("jaxem-fit"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
):
    """Fit a model and write fit.json, assignments.csv and fit.png.

    Every number of components is fitted from many random starts and the best is kept.
    """
    request = FitRequest(
        data=data,
        model=model,
        components=components,
        criterion=criterion,
        covariance=covariance,
        columns=columns,
        header=header,
        encoding=encoding,
        standardize=standardize,
        restarts=restarts,
        seed=seed,
        dtype=dtype,
        tol=tol,
        max_steps=max_steps,
        time_limit=time_limit,
        checkpoint=checkpoint,
        resume=resume,
        out=out,
        quiet=quiet,
        standard_errors=standard_errors,
    )
    from jaxem.cli._fit import run_fit

    run_fit(request)


@app.command()
def select(
    data: Annotated[
        str | None, typer.Argument(help=f"Table to read ({_FORMATS}); without it Old Faithful.", show_default=False)
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME,...", help=f"What to fit: {', '.join(KINDS)}.")
    ] = "gaussian-mixture",
    components: Annotated[
        str | None, typer.Option(metavar="K|LO:HI", help="Numbers of components to choose from; else 1:5.")
    ] = None,
    covariance: Annotated[
        str, typer.Option(metavar="NAME,...", help=f"Structures of Gaussian components: {', '.join(COVARIANCES)}.")
    ] = "full",
    criterion: Annotated[str, _choice((*CRITERIA, "cv"), "How to choose; cv is cross-validation")] = "bic",
    folds: Annotated[int, typer.Option(help="Parts that rows are shared out to under cv.")] = 5,
    one_standard_error: Annotated[
        bool, typer.Option("--one-standard-error", help="Under cv, the smallest model within one of the best.")
    ] = False,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Columns to use, by name; all by default.")
    ] = None,
    header: Header = None,
    encoding: Encoding = None,
    restarts: Annotated[int, typer.Option(help="Number of starts, run together.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the random starts and folds.")] = 0,
    dtype: Annotated[str, _choice(list(TOLERANCES), "Precision of the arithmetic")] = "float64",
    tol: Annotated[
        float | None, typer.Option(help="Distance from the limit, per row; else 1e-9 (float32: 1e-6).")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Stop after this many steps.")] = 5000,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write the table to, as for predict.")] = None,
    picture: Annotated[Path | None, typer.Option(help="File to draw the criterion in (.png).")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
):
    """Choose among models of several kinds, structures and numbers of components.

    Each is fitted from many random starts; a table says what the criterion makes of them.
    """
    from jaxem.cli._select import SelectRequest, run_select

    common = {
        "data": data,
        "components": components,
        "criterion": "bic",
        "columns": columns,
        "header": header,
        "encoding": encoding,
        "standardize": False,
        "restarts": restarts,
        "seed": seed,
        "dtype": dtype,
        "tol": tol,
        "max_steps": max_steps,
        "out": Path(),
        "quiet": quiet,
    }
    kinds = tuple(
        FitRequest(model=name.strip(), covariance=shape.strip(), **common)
        for name in model.split(",")
        for shape in covariance.split(",")
    )
    run_select(SelectRequest(kinds, criterion, folds, one_standard_error, out, picture))


@app.command()
def predict(
    model: Stored,
    data: Annotated[str, typer.Argument(help=f"Table to read ({_FORMATS}).", show_default=False)],
    out: File = None,
    header: Header = None,
    encoding: Encoding = None,
):
    """Write the most probable component of every row, and the probability of each.

    Columns are found by their names, in whatever order.
    """
    from jaxem.cli._use import run_predict

    run_predict(model, data, out, header, encoding)


@app.command()
def models():
    """List the models that fit takes."""
    width = max(map(len, KINDS))
    for name, kind in KINDS.items():
        rows = ", missing cells allowed" if kind.missing is not None else ""
        print(f"{name:<{width}}  {kind.title}; --components counts {kind.unit}s{rows}")


@app.command()
def sample(
    model: Stored,
    n: Annotated[int, typer.Option("-n", help="Number of rows to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    out: File = None,
):
    """Draw rows from a fitted model."""
    from jaxem.cli._use import run_sample

    run_sample(model, n, seed, out)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what the user can put right ends in one line on standard error and exit code 2."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            result = app(None if arguments is None else list(arguments), standalone_mode=False)
            return result if isinstance(result, int) else 0
        except BaseException as error:
            return _end(error)


def _end(error: BaseException) -> int:
    """The exit code that becomes of an error, once it is said; raises it again if it is a defect."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _fail("interrupted", 130)
    if isinstance(error, DataError | FitError):
        return _fail(error)
    if isinstance(error, BrokenPipeError):
        # The reader of standard output has gone (`jaxem sample ... | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    # Wrong options: the class depends on the version of typer, the method that words it does not.
    if hasattr(error, "format_message"):
        return _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    raise error


def _fail(message: object, code: int = 2) -> int:
    say("error", message)
    return code


def _show_warning(message, category, filename, lineno, file=None, line=None):
    say("warning", message)
