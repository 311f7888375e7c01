"""What `jaxem fit` prints."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxem._text import plain
from jaxem.cli._view import View
from jaxem.cli.kinds import KINDS

MAX_COLUMNS = 20
_LONGEST_NAME = 40


def report(
    console: Console,
    document: dict[str, Any],
    view: View,
    out: Path,
    note: str = "",
    picture: bool = True,
    standard_errors: str = "",
) -> None:
    """The chosen fit, how its search ended, the criterion over the number of components, and what was written.

    `standard_errors` is a table of them, ready to be shown.
    """
    size = f"{document['num_rows']} rows, {len(document['columns'])} columns"
    if document["missing_cells"]:
        size += f", {document['missing_cells']} missing cells"
    console.print(Text(plain(document["data"]), "bold") + Text(f": {size}{note}"), soft_wrap=True)
    _components(console, document, view)
    _search(console, document)
    if len(document["criteria"]) > 1:
        _criteria(console, document)
    if standard_errors:
        where = " (of the standardized data)" if document["standardize"] else ""
        console.print(f"\n[bold]Standard errors[/]{where}")
        console.print(Text(standard_errors), soft_wrap=True)
    files = "fit.json, assignments.csv and fit.png" if picture else "fit.json and assignments.csv"
    console.print(Text(f"\nWrote {files} to {plain(out)}/"), soft_wrap=True)


def title_of(document: dict[str, Any]) -> str:
    """Such as "Gaussian mixture, 2 components, full covariance"."""
    k, kind = document["num_components"], KINDS[document["model"]]
    structure = f", {document['covariance']} covariance" if document["covariance"] else ""
    return f"{kind.title}, {k} {kind.unit}{'s' * (k > 1)}{structure}"


def _components(console: Console, document: dict[str, Any], view: View) -> None:
    """Weight, number of assigned rows and a cell for each column; components across where the columns are many."""
    kind = KINDS[document["model"]]
    heading, cells = kind.describe(view)
    console.print(f"\n[bold]{title_of(document)}[/] ({heading})")
    names = [plain(name, _LONGEST_NAME) for name in view.columns[:MAX_COLUMNS]]
    rows, numbers = [cell[:MAX_COLUMNS] for cell in cells.values()], list(cells)
    if len(view.labels):
        sizes = np.bincount(view.labels, minlength=len(view.weights))
        names = ["weight", "rows", *names]
        rows = [[f"{weight:.4f}", str(size), *row] for weight, size, row in zip(view.weights, sizes, rows, strict=True)]
    corner = kind.unit if len(view.labels) else ""
    if len(view.columns) <= 3:
        _print(console, [corner, *names], [[number, *row] for number, row in zip(numbers, rows, strict=True)])
    else:
        width = 3 + max(len(cell) for row in [numbers, *rows] for cell in row)
        at_once = max((console.width - max(map(len, names))) // width, 1)
        for k in range(0, len(rows), at_once):
            across = zip(names, *rows[k : k + at_once], strict=True)
            _print(console, [corner, *numbers[k : k + at_once]], across)
    if len(view.columns) > MAX_COLUMNS:
        console.print(f"(the first {MAX_COLUMNS} of {len(view.columns)} columns; fit.json has all)")


def _search(console: Console, document: dict[str, Any]) -> None:
    names = document["restarts"]["status"]
    counts = ", ".join(f"{count} {_words(name)}" for name, count in Counter(names).most_common())
    where = " (of the standardized data)" if document["standardize"] else ""
    console.print(f"\nLog-likelihood {document['log_likelihood']:.6f}{where}, {document['num_parameters']} parameters.")
    if document["missing_cells"]:
        fraction, note = document["missing_information"], document["missing_information_note"]
        found = note if fraction is None else f"{fraction:.4f} ({note})"
        console.print(f"Worst fraction of missing information: {found}.", soft_wrap=True)
    console.print(f"Best start: {_words(document['status'])} after {document['num_steps']} steps.")
    if document["status"] != "converged":
        import jaxem

        console.print(f"[yellow]Careful:[/] {jaxem.Status[getattr(jaxem.Status, document['status'])]}.", soft_wrap=True)
    console.print(f"Best optimum found by {document['best_found']} of {len(names)} starts ({counts}).")


def _criteria(console: Console, document: dict[str, Any]) -> None:
    console.print(f"\n[bold]Chosen by {document['criterion'].upper()}[/] (smaller is better)")
    table = plain_table()
    for name in ("k", "log-\nlikelihood", "para-\nmeters", "BIC", "AIC", "ICL", "best\nfound"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", overflow="fold")
    for row in document["criteria"]:
        chosen = row["num_components"] == document["num_components"]
        k = f"{'* ' if chosen else ''}{row['num_components']}"
        if row["bic"] is None:
            table.add_row(k, *["-"] * 6, Text(plain(row["status"])))
            continue
        criteria = [f"{row[name]:.2f}" if row[name] is not None else "-" for name in ("bic", "aic", "icl")]
        found = f"{row['best_found']}/{row['starts']}"
        cells = (f"{row['log_likelihood']:.4f}", str(row["num_parameters"]), *criteria, found, _words(row["status"]))
        table.add_row(k, *cells, style="bold" if chosen else None)
    console.print(table)


def plain_table() -> Table:
    """A table without a frame, to add columns and rows to."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _print(console: Console, header: list[str], rows: Iterable[Iterable[str]]) -> None:
    table = plain_table()
    # Text of its own, in which nothing is markup.
    for name in header:
        table.add_column(Text(name), justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _words(status: str) -> str:
    return status.replace("_", " ")
