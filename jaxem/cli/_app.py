"""The commands and their options, and what becomes of an error."""

import sys
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jaxem.cli._errors import CommandError, one_line
from jaxem.cli._kinds import COVARIANCES, KINDS

app = typer.Typer(
    help="Fit latent-variable models by expectation-maximization, from hundreds of starts at once.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = StrEnum("Model", {name: name for name in KINDS})
Covariance = StrEnum("Covariance", {name: name for name in COVARIANCES})
Criterion = StrEnum("Criterion", {name: name for name in ("bic", "aic", "icl")})
Dtype = StrEnum("Dtype", {name: name for name in ("float64", "float32")})

_Data = typer.Argument(help="Table to read: .csv, .tsv, .parquet or .npy.", show_default=False)
_Stored = typer.Argument(metavar="MODEL", help="fit.json, or the folder that holds it.")
_File = typer.Option("--out", "-o", help="File to write (.csv, .tsv or .parquet); standard output by default.")


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False):
    if version:
        from jaxem.cli._version import version as number

        print(f"jaxem {number()}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def fit(
    data: Annotated[str | None, typer.Argument(help=f"{_Data.help} Without it: Old Faithful.", show_default=False)] = None,
    model: Annotated[Model, typer.Option(help="What to fit.")] = Model("gaussian-mixture"),
    components: Annotated[
        str, typer.Option(metavar="K|LO:HI", help="Number of components, or a range to choose from.")
    ] = "1:6",
    criterion: Annotated[Criterion, typer.Option(help="How to choose from a range; smaller is better.")] = Criterion("bic"),
    covariance: Annotated[Covariance, typer.Option(help="Structure of Gaussian components.")] = Covariance("full"),
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to use; all by default.")] = None,
    standardize: Annotated[bool, typer.Option("--standardize", help="Fit to (x - mean) / sd of each column.")] = False,
    restarts: Annotated[int, typer.Option(help="Number of starts, run together.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the random starts.")] = 0,
    dtype: Annotated[Dtype, typer.Option(help="Precision of the arithmetic.")] = Dtype("float64"),
    tol: Annotated[
        float | None,
        typer.Option(help="Stop at this gain of the objective per row; 1e-9, or 1e-6 in float32.", show_default=False),
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Stop after this many steps.")] = 2000,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("jaxem-fit"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
):
    """Fit a model and write fit.json, assignments.csv and fit.png.

    Every number of components is fitted from many random starts and the best is kept.
    """
    from jaxem.cli._fit import FitRequest, run_fit

    run_fit(
        FitRequest(
            data=data, model=model.value, components=components, criterion=criterion.value, covariance=covariance.value,
            columns=columns, standardize=standardize, restarts=restarts, seed=seed, dtype=dtype.value, tol=tol,
            max_steps=max_steps, out=out, quiet=quiet,
        )
    )  # fmt: skip


@app.command()
def predict(
    model: Annotated[Path, _Stored],
    data: Annotated[str, _Data],
    out: Annotated[Path | None, _File] = None,
):
    """Write the most probable component of every row, and the probability of each."""
    from jaxem.cli._use import run_predict

    run_predict(model, data, out)


@app.command()
def sample(
    model: Annotated[Path, _Stored],
    n: Annotated[int, typer.Option("-n", help="Number of rows to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    out: Annotated[Path | None, _File] = None,
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
        except (KeyboardInterrupt, typer.Abort):
            return _fail("interrupted", 130)
        except BrokenPipeError:
            # The reader of standard output has gone (`jaxem sample ... | head`): nothing is wrong.
            sys.stdout = None
            return 0
        except Exception as error:
            if isinstance(error, CommandError):
                return _fail(one_line(error))
            if hasattr(error, "format_message"):
                return _fail(one_line(error.format_message()))
            raise


def _fail(message: str, code: int = 2) -> int:
    print(f"jaxem: error: {message}", file=sys.stderr)
    return code


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"jaxem: warning: {one_line(message)}", file=sys.stderr)
