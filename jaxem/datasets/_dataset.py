"""What a data set is, and how one is read from a table beside this file."""

from importlib.resources import files
from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """A table of numbers with its column names and where it comes from.

    `data` is a float64 NumPy array `[n, d]`; `columns` holds the `d` names.
    """

    data: np.ndarray
    columns: tuple[str, ...]
    name: str
    source: str


def read(file: str, *, name: str, source: str) -> Dataset:
    """Read `file`, a comma-separated table with a header, from this folder."""
    header, *rows = (files("jaxem.datasets") / file).read_text(encoding="utf-8").splitlines()
    data = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    return Dataset(data, tuple(header.split(",")), name, source)
