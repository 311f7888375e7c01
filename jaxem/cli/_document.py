"""What `fit.json` may hold: every field is checked before anything is computed from it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxem._text import plain, quoted
from jaxem.cli._errors import CommandError
from jaxem.cli._request import CRITERIA, LARGEST, TOLERANCES
from jaxem.cli.kinds import COVARIANCES, KINDS
from jaxem.engine.domains import fault

FORMAT = 1
_SPELLED = ("nan", "inf", "-inf")


class Wrong(CommandError):
    """A field of `fit.json` does not hold what it should; the message names the field."""

    def __init__(self, field: str, what: str):
        super().__init__(f"{plain(field, 80)}: {what}")


def parse(text: str) -> dict[str, Any]:
    """The document in `text`, each of its fields checked but for the arrays of `params`."""
    document = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
    if not isinstance(document, dict):
        raise Wrong("the file", f"holds {_name(document)}, not an object")
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        raise Wrong("format", f"is not {FORMAT}: the file is not a fit of this version of jaxem")
    for field in _REQUIRED:
        if field not in document:
            raise Wrong(field, "is missing")
    for field, check in _FIELDS.items():
        if field in document:
            check(field, document[field])
    if document.get("covariance") != document["options"].get("covariance") and "covariance" in document:
        raise Wrong("covariance", "is not that of `options`")
    return document


def parameters(layout: Any, tree: Any, sizes: dict[str, int], dtype: np.dtype, field: str = "params") -> Any:
    """`layout` with the arrays of `tree` in the place of its declarations, each checked: see `jaxem.cli.kinds`."""
    if not hasattr(layout, "_fields"):
        where, *letters = layout.split()
        shape = tuple(sizes[letter] if letter in sizes else int(letter) for letter in letters)
        value = array(field, tree, shape, dtype)
        found = fault(value, where)
        if found:
            raise Wrong(field, found)
        return value
    _check_object(field, tree)
    for name in {*layout._fields} ^ {*tree}:
        raise Wrong(f"{field}.{name}", "is missing" if name in layout._fields else "is no parameter of the model")
    names = layout._fields
    return type(layout)(*[parameters(getattr(layout, n), tree[n], sizes, dtype, f"{field}.{n}") for n in names])


def array(field: str, value: Any, shape: tuple[int | None, ...], dtype: Any, spelled: bool = False) -> Any:
    """Nested lists of numbers as an array of that shape (`None`: of any length); finite unless `spelled` allows
    "nan" and "inf" in the place of numbers."""
    found = np.asarray(_numbers(field, value, shape, spelled), np.float64)
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    if not spelled and not np.isfinite(cast).all():
        raise Wrong(field, f"holds a number that {np.dtype(dtype).name} cannot hold")
    return cast


def _numbers(field: str, value: Any, shape: tuple[int | None, ...], spelled: bool) -> Any:
    if shape:
        if not isinstance(value, list):
            raise Wrong(field, f"holds {_name(value)} where a list belongs")
        if shape[0] is not None and len(value) != shape[0]:
            raise Wrong(field, f"has {len(value)} entries where {shape[0]} belong")
        return [_numbers(field, item, shape[1:], spelled) for item in value]
    if spelled and value in _SPELLED:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(field, f"holds {_name(value)} where a number belongs")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise Wrong(field, "holds a number that is not finite")
    return number


def _name(value: Any) -> str:
    """What a value of JSON is, in words."""
    if isinstance(value, str):
        return quoted(value)
    names = {dict: "an object", list: "a list", type(None): "null", bool: "a truth value"}
    return names.get(type(value), "a number")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field occurs twice in an object")
    return found


def _text(field: str, value: Any) -> None:
    if not isinstance(value, str):
        raise Wrong(field, f"holds {_name(value)} where text belongs")


def _one_of(known: Any) -> Callable[[str, Any], None]:
    def check(field: str, value: Any) -> None:
        if not isinstance(value, str) or value not in known:
            raise Wrong(field, f"is {_name(value)}, and not one of {', '.join(known)}")

    return check


def _count(low: int, high: int = LARGEST) -> Callable[[str, Any], None]:
    def check(field: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(field, f"holds {_name(value)} where an integer of at least {low} and at most {high} belongs")

    return check


def _finite(field: str, value: Any) -> None:
    array(field, value, (), np.float64)


def _or_null(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    return lambda field, value: None if value is None else check(field, value)


def _check_object(field: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise Wrong(field, f"holds {_name(value)} where an object belongs")


def _options(field: str, value: Any) -> None:
    """Names of structures, truth values and numbers of levels: what kinds keep of their options."""
    _check_object(field, value)
    for name, option in value.items():
        if name == "covariance":
            _one_of(COVARIANCES)(f"{field}.{name}", option)
        elif not isinstance(option, bool):
            for number in option if isinstance(option, list) else [option]:
                _count(1)(f"{field}.{name}", number)


def _columns(field: str, value: Any) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise Wrong(field, "is not a list of names")
    if len(set(value)) < len(value):
        raise Wrong(field, "names a column twice")


def _status(field: str, value: Any) -> None:
    from jaxem._status import NAMES

    _one_of(NAMES)(field, value)


def _restarts(field: str, value: Any) -> None:
    _check_object(field, value)
    for name in ("objective", "status", "num_steps"):
        if not isinstance(value.get(name), list) or len(value[name]) != len(value["objective"]) or not value[name]:
            raise Wrong(f"{field}.{name}", "is not a list with an entry for each start")
    for i in range(len(value["status"])):
        _status(f"{field}.status", value["status"][i])
        _count(0)(f"{field}.num_steps", value["num_steps"][i])
    array(f"{field}.objective", value["objective"], (None,), np.float64, spelled=True)


def _history(field: str, value: Any) -> None:
    array(field, value, (None,), np.float64, spelled=True)


def _objects(field: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Wrong(field, "is not a list of objects")


_NUMBERS = ("standard_error", "lower", "upper")


def _standard_errors(field: str, value: Any) -> None:
    _check_object(field, value)
    for name, check in (("level", _finite), ("why", _text), ("table", _objects)):
        check(f"{field}.{name}", value.get(name))
    for row in value["table"]:
        for name in ("parameter", "column", "note"):
            _text(f"{field}.table.{name}", row.get(name))
        _finite(f"{field}.table.estimate", row.get("estimate"))
        for name in _NUMBERS:
            _or_null(_finite)(f"{field}.table.{name}", row.get(name))


_REQUIRED = (
    "format", "dtype", "model", "num_components", "options", "columns", "params", "log_likelihood", "objective",
    "status", "num_steps", "restarts", "history", "standardize",
)  # fmt: skip
_FIELDS: dict[str, Callable[[str, Any], None]] = {
    "version": _text,
    "data": _text,
    "num_rows": _count(1, 2**63),
    "columns": _columns,
    "table": _or_null(_check_object),
    "missing_cells": _count(0, 2**63),
    "model": _one_of(KINDS),
    "num_components": _count(1),
    "options": _options,
    "params": _check_object,
    "log_likelihood": _finite,
    "objective": _finite,
    "status": _status,
    "num_steps": _count(0),
    "restarts": _restarts,
    "history": _history,
    "bic": _finite,
    "aic": _finite,
    "icl": _or_null(_finite),
    "num_parameters": _count(0),
    "best_found": _count(0),
    "missing_information": _or_null(_finite),
    "missing_information_note": _or_null(_text),
    "standard_errors": _or_null(_standard_errors),
    "best_within": _finite,
    "criterion": _one_of(CRITERIA),
    "criteria": _objects,
    "coordinates": _text,
    "standardize": _or_null(_check_object),
    "dtype": _one_of(TOLERANCES),
    "seed": _count(0, 2**64),
    "tolerance": _finite,
    "max_steps": _count(1),
}
