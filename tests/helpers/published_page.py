"""All printed standard errors and intervals beside the library's.

`python -m tests.helpers.published_page` prints the tables of docs/published-errors.md.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import jaxem
from tests.helpers import (
    published_chain_errors,
    published_intervals,
    published_latent_errors,
    published_lifetime_errors,
    published_regression_errors,
)
from tests.helpers.published_errors import Fitted, Row, Table

MODULES = published_regression_errors, published_lifetime_errors, published_latent_errors, published_chain_errors
TABLES = tuple(table for module in MODULES for table in module.TABLES)
LIMITS = published_intervals.LIMITS
PAGE = Path(__file__).parents[2] / "docs" / "published-errors.md"


def found(table: Table) -> tuple[Fitted, np.ndarray]:
    """The fit, and estimates and standard errors of the rows, `[m, 2]`."""
    fitted = table.fitted()
    info = jaxem.information.observed(
        fitted.model, fitted.params, fitted.data, weights=fitted.weights, method=table.method
    )
    told = info.delta(lambda params: table.read(table.theta(params)))
    return fitted, np.stack([np.asarray(told.value), np.asarray(told.standard_error)], 1)


def pair(printed: Row, values: Sequence[float] | None = None, word: str = "") -> str:
    """An estimate with its error in brackets, or two limits with a `word` between, as printed or of these values."""
    each = printed.estimate, printed.error
    if values is not None:
        each = tuple(f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(values, each, strict=True))
    return f"{each[0]} {word} {each[1]}" if word else f"{each[0]} ({each[1]})"


def section(name: str, model: str, source: str, lines: Sequence[tuple[str, str, str]]) -> str:
    head = [
        f"### {name}",
        "",
        f"{model[0].upper()}{model[1:]}. {source}.",
        "",
        "| | printed | jaxem |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines), ""])


def lines_of(name: str) -> list[list[str]]:
    """The rows of a section of the page: name, printed, jaxem."""
    lines = PAGE.read_text().split(f"### {name}\n")[1].split("###")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]


def main() -> None:
    for table in TABLES:
        shown = zip(table.rows, found(table)[1], strict=True)
        lines = [(row.name, pair(row), pair(row, values)) for row, values in shown if row.error]
        print(section(table.name, table.model, table.source, lines), flush=True)
    for limits in LIMITS:
        shown = zip(limits.rows, limits.found(), strict=True)
        lines = [(row.name, pair(row, word="to"), pair(row, values, "to")) for row, values in shown]
        print(section(limits.name, limits.model, limits.source, lines), flush=True)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
