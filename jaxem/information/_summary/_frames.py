"""A summary as a data frame of pandas, and as a tree of data sets of xarray."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxem._extras import optional
from jaxem.information._summary._entries import BOOTSTRAP, Entry, Measured


def to_dataframe(table: Sequence[dict[str, Any]]) -> Any:
    """A row for each entry of the table."""
    pandas = optional("pandas", "Summary.to_dataframe", "pip install pandas")
    known = [name for name in Entry._fields if name != "drawn"]
    drawn = [name for name in BOOTSTRAP if table and name in table[0]]
    frame = pandas.DataFrame(list(table), columns=known + drawn)
    numbers = ["estimate", "standard_error", "lower", "upper", *drawn]
    return frame.astype(dict.fromkeys(numbers, float))


def to_datatree(summary: Any) -> Any:
    """Groups of arrays with named axes."""
    xarray = optional("xarray", "Summary.to_datatree", "pip install 'jaxem[xarray]'")
    groups: dict[str, dict[str, Any]] = {"estimate": {}, "standard_error": {}, "lower": {}, "upper": {}}
    if any(own.drawn for own in summary.measured):
        groups.update({name: {} for name in BOOTSTRAP})
    for own in summary.measured:
        drawn = dict(zip(BOOTSTRAP, own.drawn, strict=False))
        for name, variables in groups.items():
            values = own.leaf.values if name == "estimate" else drawn[name] if name in drawn else getattr(own, name)
            variables[own.leaf.short or "params"] = _array(xarray, own, values)
    tree = {f"/{name}": xarray.Dataset(variables) for name, variables in groups.items()}
    if summary.sizes:
        coords = {summary.word: list(summary.sizes)}
        expected = xarray.DataArray(list(summary.sizes.values()), coords, [summary.word])
        tree["/sizes"] = xarray.Dataset({"expected": expected, "share": expected / expected.sum()})
    facts = {name: value for name, value in summary.facts.items() if value is not None}
    tree["/"] = xarray.Dataset(attrs={**facts, "level": summary.level, "standard_errors": summary.why})
    return xarray.DataTree.from_dict(tree)


def _array(xarray: Any, own: Measured, values: np.ndarray) -> Any:
    coords = dict(zip(own.leaf.axes, own.leaf.labels, strict=True))
    return xarray.DataArray(np.asarray(values, float), coords, list(own.leaf.axes))
