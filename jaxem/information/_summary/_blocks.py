"""The parts of a summary in words: titles, lines of prose and tables of cells, before they are text or HTML."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxem._text import plain
from jaxem.information._summary._entries import BOUND, FIXED, UNIDENTIFIED, Measured

_MOST = 200  # rows of a table that are shown
_LONGEST = 40  # of a name
_COUNTED = {"sequence": "steps", "document": "words", "row": "rows"}
_NOTES = {
    FIXED: "given, or the same whatever the data are",
    UNIDENTIFIED: "other values have the same likelihood",
    BOUND: "the estimate lies on the edge of where it may; taken as known for the others",
}


class Block(NamedTuple):
    """A title, lines of prose, and a table: the cells of the `header` and of `rows`, of which `left` are words."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left: tuple[bool, ...] = ()


def blocks_of(summary: Any) -> list[Block]:
    """All parts in their order."""
    table, square = summary.table, [own for own in summary.measured if _is_square(own)]
    apart = {own.leaf.short for own in square}
    found = [_head(summary), *_sizes(summary), *map(_matrix, square)]
    members = list(dict.fromkeys(row["member"] for row in table))
    for member in members:
        rows = [row for row in table if row["member"] == member and row["parameter"] not in apart]
        if rows:
            found.append(_of_member(summary, member, rows))
    notes = {row["note"] for row in table}
    lines = tuple(f"{note}: {_NOTES[note]}" for note in _NOTES if note in notes)
    return [*found, Block("Notes", lines)] if lines else found


def _head(summary: Any) -> Block:
    facts, unit = summary.facts, summary.unit
    size = f"{_count(facts['num_rows'])} {unit}{'s' * (facts['num_rows'] != 1)}"
    if facts["total_weight"] not in (None, facts["num_rows"]):
        size += f" of total weight {_count(facts['total_weight'])}"
    counted = facts["num_observations"]
    if counted != (facts["num_rows"] if facts["total_weight"] is None else facts["total_weight"]):
        size += f", {_count(counted)} observations"
    starts = f", the best of {facts['num_starts']} starts" if facts["num_starts"] > 1 else ""
    steps = f"{facts['num_steps']} step{'s' * (facts['num_steps'] != 1)}"
    criteria = [f"{name.upper()} {facts[name]:.2f}" for name in ("aic", "bic", "icl") if facts[name] is not None]
    parameters = f"{facts['num_parameters']} parameter{'s' * (facts['num_parameters'] != 1)}"
    bound = "at least " if facts["is_bound"] else ""
    lines = [
        size,
        f"{facts['status'].replace('_', ' ')} after {steps}{starts}",
        f"log-likelihood {bound}{facts['log_likelihood']:.4f}, {parameters}, {', '.join(criteria)}",
    ]
    if facts["status"] not in ("converged", "completed"):
        lines.insert(2, f"careful: {facts['message']}")
    if any(row["standard_error"] is not None for row in summary.table):
        lines.append(f"standard errors {summary.why}; {100 * summary.level:.6g}% Wald intervals")
    else:
        lines.append(f"no standard errors: {summary.why}")
    if any(row.get("bootstrap_error") is not None for row in summary.table):
        lines.append(f"bootstrap errors, and {100 * summary.level:.6g}% percentile intervals after them")
    return Block(plain(facts["model"]), tuple(map(plain, lines)))


def _sizes(summary: Any) -> list[Block]:
    if not summary.sizes:
        return []
    total = sum(summary.sizes.values()) or 1
    rows = [(_name(label), f"{size / total:.4f}", f"{size:.2f}") for label, size in summary.sizes.items()]
    header = (summary.word, "share", f"expected {_COUNTED[summary.unit]}")
    return [_table("Sizes", header, rows, (True, False, False))]


def _matrix(own: Measured) -> Block:
    """Such as transitions: from the members at the left to those above, with standard errors in parentheses."""
    leaf, rows = own.leaf, []
    for i, label in enumerate(leaf.labels[0]):
        cells = [
            _number(leaf.values[i, j]) + _mark(own.standard_error[i, j], str(own.note[i, j]))
            for j in range(leaf.values.shape[1])
        ]
        rows.append((_name(label), *cells))
    header = (f"from {leaf.axes[0]}", *(f"to {_name(label)}" for label in leaf.labels[1]))
    return _table(_title(leaf.short), header, rows, (True, *(False for _ in leaf.labels[1])))


def _of_member(summary: Any, member: Any, rows: list[dict[str, Any]]) -> Block:
    shown = [
        (
            _name(row["parameter"]),
            _name(row["column"]),
            _number(row["estimate"]),
            "" if row["standard_error"] is None else f"{row['standard_error']:.3g}",
            "" if row["lower"] is None else _bounds(row["lower"], row["upper"]),
            "" if row.get("bootstrap_error") is None else f"{row['bootstrap_error']:.3g}",
            "" if row.get("bootstrap_lower") is None else _bounds(row["bootstrap_lower"], row["bootstrap_upper"]),
            row["note"],
        )
        for row in rows
    ]
    interval = f"{100 * summary.level:.6g}% interval"
    header = ("parameter", "of", "estimate", "std. error", interval, "bootstrap error", interval, "note")
    kept = [i for i in range(len(header)) if any(row[i] for row in shown) or i in (0, 2)]
    title = f"{summary.word} {_name(member)}" if member is not None else "Parameters"
    if member is None and len({row["member"] for row in summary.table}) > 1:
        title = f"All {summary.word}s"
    pick = [tuple(row[i] for i in kept) for row in shown]
    return _table(_title(title), tuple(header[i] for i in kept), pick, tuple(i in (0, 1, 7) for i in kept))


def _table(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]], left: tuple[bool, ...]) -> Block:
    rows = tuple(rows)
    more = () if len(rows) <= _MOST else (f"the first {_MOST} of {len(rows)}; .table has all",)
    return Block(title, more, header, rows[:_MOST], left)


def _is_square(own: Measured) -> bool:
    axes = own.leaf.axes
    return len(axes) == 2 and own.leaf.by_member and axes[1] == f"next_{axes[0]}"


def _mark(error: float, note: str) -> str:
    return f" ({note})" if note else "" if np.isnan(error) else f" ({error:.3g})"


def _bounds(lower: float, upper: float) -> str:
    return f"{_number(lower)} to {_number(upper)}"


def _number(value: float) -> str:
    return f"{value:.5g}"


def _count(value: float) -> str:
    return f"{value:,.10g}"


def _name(label: Any) -> str:
    return plain(label, _LONGEST)


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
