"""The lines of the table: an estimate with its standard error, bounds and a note, for each number that can vary."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxem._coordinates import vector
from jaxem.information._information import Information
from jaxem.information._names import is_named, split_like
from jaxem.information._summary._axes import Leaf, Parameters

BOOTSTRAP = ("bootstrap_error", "bootstrap_lower", "bootstrap_upper")
FIXED, UNIDENTIFIED, BOUND = "fixed", "not determined", "at a bound"


class Entry(NamedTuple):
    """One number: the `member` it belongs to (or `None`), its parameter, and where it is in it.

    `column` joins the labels of the other axes with commas. There are no standard error and bounds where `note` says
    why, or where they were not asked for.
    """

    member: Any
    parameter: str
    column: str
    estimate: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    note: str
    drawn: tuple[float | None, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """By name, the numbers of a bootstrap among them if there are any."""
        given = self._asdict()
        drawn = given.pop("drawn")
        return given | (dict(zip(BOOTSTRAP, drawn, strict=True)) if drawn else {})


class Measured(NamedTuple):
    """The numbers of a leaf, each with its own: arrays like `leaf.values`; `shown` are those that say something."""

    leaf: Leaf
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    note: np.ndarray
    shown: np.ndarray
    drawn: tuple[np.ndarray, ...] = ()  # standard errors and bounds from a bootstrap


def measured(
    model: Any, params: PyTree, parameters: Parameters, info: Information | None, level: float, drawn: Any = None
) -> tuple[Measured, ...]:
    """Standard errors, bounds and notes of all leaves; those of a bootstrap besides, where it was `drawn`."""
    total = sum(leaf.values.size for leaf in parameters.leaves)
    known = np.concatenate([np.ravel(leaf) for leaf in split_like(params, constants(model, params))] or [[]])
    if info is None:
        errors = lower = upper = np.full(total, np.nan)
    else:
        interval = info.interval(level)
        errors, lower, upper = (_flat(tree) for tree in (info.standard_errors, interval.lower, interval.upper))
    beside = ()
    if drawn is not None:
        percentile = drawn.interval(level)
        beside = tuple(_flat(tree) for tree in (drawn.standard_errors, percentile.lower, percentile.upper))
    found, start = [], 0
    for leaf in parameters.leaves:
        end = start + leaf.values.size
        numbers = tuple(part[start:end].reshape(leaf.values.shape) for part in (errors, lower, upper))
        own = _of_leaf(leaf, info, numbers, known[start:end].reshape(leaf.values.shape))
        parts = tuple(part[start:end].reshape(leaf.values.shape) for part in beside)
        found.append(own._replace(drawn=tuple(np.where(own.note == FIXED, np.nan, part) for part in parts)))
        start = end
    return tuple(found)


def _of_leaf(leaf: Leaf, info: Information | None, numbers: tuple[np.ndarray, ...], known: np.ndarray) -> Measured:
    errors = numbers[0]
    note, shown = np.full(leaf.values.shape, "", object), np.ones(leaf.values.shape, bool)
    for index in np.ndindex(leaf.values.shape):
        there = (0, *index) if leaf.member is not None else index
        if known[index]:
            note[index] = FIXED
        elif errors[index] == 0 or (info is not None and is_named(info.boundary, leaf.name, there)):
            note[index] = BOUND
        elif info is not None and is_named(info.unidentified, leaf.name, there):
            note[index] = UNIDENTIFIED
    if leaf.symmetric:
        shown &= np.triu(np.ones(leaf.values.shape[-2:], bool))
    if leaf.axes[-1:] and leaf.axes[-1].endswith("category"):
        shown &= ~((note == FIXED) & (leaf.values == 0))  # a column may have fewer categories than another
    errors, lower, upper = (np.where(note != "", np.nan, values) for values in numbers)
    return Measured(leaf, errors, lower, upper, note, shown)


def entries_of(found: tuple[Measured, ...], members: list[Any]) -> list[Entry]:
    """All lines: those of each member in this order, then those that concern all."""
    entries: list[Entry] = []
    for own in found:
        leaf = own.leaf
        for index in np.ndindex(leaf.values.shape):
            if own.shown[index]:
                labels = [names[i] for names, i in zip(leaf.labels, index, strict=True)]
                member = labels[0] if leaf.by_member else leaf.member
                others = list(zip(leaf.axes, labels, strict=True))[leaf.by_member :]
                numbers = (float(part[index]) for part in (own.standard_error, own.lower, own.upper))
                error, lower, upper = (None if np.isnan(number) else number for number in numbers)
                entries.append(
                    Entry(
                        member,
                        leaf.short or "params",
                        ", ".join(_place(axis, label) for axis, label in others),
                        float(leaf.values[index]),
                        error,
                        lower,
                        upper,
                        str(own.note[index]),
                        tuple(None if np.isnan(part[index]) else float(part[index]) for part in own.drawn),
                    )
                )
    order = [*members, None]
    return sorted(entries, key=lambda entry: order.index(entry.member))


def _place(axis: str, label: Any) -> str:
    """A name as it is, and a number after the word for what it counts."""
    word = axis.rstrip("_0123456789").rpartition("_")[2]
    return str(label) if isinstance(label, str) or word == "axis" else f"{word} {label}"


def constants(model: Any, params: PyTree) -> np.ndarray:
    """Which of all numbers are the same whatever the coordinates are: frozen, or fixed by the model."""
    here, at = vector(model, params)
    values = _flat(params)
    if not here.size:
        return np.ones(values.shape, bool)
    others = [_flat(at(jax.random.normal(jax.random.key(seed), here.shape, here.dtype))) for seed in (0, 1)]
    return (others[0] == values) & (others[1] == values)


def _flat(tree: PyTree) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in jax.tree.leaves(tree)] or [np.zeros(0)])
