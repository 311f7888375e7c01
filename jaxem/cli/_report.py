"""What `jaxem fit` prints."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from jaxem.cli._kinds import KINDS

MAX_COLUMNS = 6


def report(
    console: Console, document: dict[str, Any], params: Any, labels: np.ndarray, shift: Any, scale: Any, out: Path
) -> None:
    """The chosen fit, how its search ended, the criterion over the number of components, and what was written."""
    console.print(f"[bold]{document['data']}[/]: {document['num_rows']} rows, {len(document['columns'])} columns")
    _components(console, document, params, labels, shift, scale)
    _search(console, document)
    if len(document["criteria"]) > 1:
        _criteria(console, document)
    console.print(f"Wrote fit.json, assignments.csv and fit.png to {out}/", soft_wrap=True)


def title_of(document: dict[str, Any]) -> str:
    """Such as "Gaussian mixture, 2 components, full covariance"."""
    k = document["num_components"]
    structure = f", {document['covariance']} covariance" if document["covariance"] else ""
    return f"{KINDS[document['model']].title}, {k} component{'s' * (k > 1)}{structure}"


def _components(console: Console, document: dict[str, Any], params: Any, labels: np.ndarray, shift: Any, scale: Any) -> None:
    """One row for each component: its weight, how many rows are assigned to it, and a cell for each column."""
    columns = document["columns"]
    heading, cells = KINDS[document["model"]].describe(params, document["options"], shift, scale)
    table = _table(title_of(document))
    for name in ("component", "weight", "rows", *(f"{name}\n{heading}" for name in columns[:MAX_COLUMNS])):
        table.add_column(name, justify="right")
    weights = np.asarray(params.weights)
    sizes = np.bincount(labels, minlength=len(weights))
    for j, row in enumerate(cells):
        table.add_row(str(j), f"{weights[j]:.4f}", str(sizes[j]), *row[:MAX_COLUMNS])
    console.print(table)
    if len(columns) > MAX_COLUMNS:
        console.print(f"(the first {MAX_COLUMNS} of {len(columns)} columns; fit.json has all)\n")


def _search(console: Console, document: dict[str, Any]) -> None:
    names = document["restarts"]["status"]
    counts = ", ".join(f"{count} {_words(name)}" for name, count in Counter(names).most_common())
    where = " (of the standardized data)" if document["standardize"] else ""
    console.print(f"Log-likelihood {document['log_likelihood']:.6f}{where}, {document['num_parameters']} parameters.")
    console.print(f"Best start: {_words(document['status'])} after {document['num_steps']} steps.")
    console.print(f"Best optimum found by {document['best_found']} of {len(names)} starts ({counts}).")


def _criteria(console: Console, document: dict[str, Any]) -> None:
    table = _table(f"Chosen by {document['criterion'].upper()} (smaller is better)")
    for name in ("components", "log-likelihood", "parameters", "BIC", "AIC", "ICL", "best found", "status"):
        table.add_column(name, justify="left" if name == "status" else "right")
    for row in document["criteria"]:
        chosen = row["num_components"] == document["num_components"]
        k = f"{'* ' if chosen else ''}{row['num_components']}"
        if row["bic"] is None:
            table.add_row(k, *["-"] * 6, row["status"])
            continue
        criteria = [f"{row[name]:.2f}" for name in ("bic", "aic", "icl")]
        found = f"{row['best_found']}/{row['starts']}"
        cells = (f"{row['log_likelihood']:.4f}", str(row["num_parameters"]), *criteria, found, _words(row["status"]))
        table.add_row(k, *cells, style="bold" if chosen else None)
    console.print()
    console.print(table)


def _table(title: str) -> Table:
    return Table(title=f"\n{title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _words(status: str) -> str:
    return status.replace("_", " ")
