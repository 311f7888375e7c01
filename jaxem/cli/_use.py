"""`jaxem predict` and `jaxem sample`: a stored fit at work."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxem.cli._errors import CommandError, reported
from jaxem.cli._precision import precision
from jaxem.cli._store import Stored, load_fit
from jaxem.cli._tables import Table, check_finite, choose, frame_of, read_table, write_frame

_ROWS = 65_536


def run_predict(model: Path, data: str, out: Path | None) -> None:
    """Assign the rows of a table to the components of a stored fit."""
    stored = load_fit(model)
    table = _matching(read_table(data) if Path(data).suffix.lower() == ".npy" else read_table(data, stored.columns), stored)
    check_finite(table)
    with precision(stored.document["dtype"]), reported():
        x = scaled(table.values, stored.shift, stored.scale, stored.document["dtype"])
        stored.model.check(x, None)
        responsibilities = posterior(stored.model, stored.fit.params, x)
    write_frame(assignments(responsibilities), out)


def run_sample(model: Path, n: int, seed: int, out: Path | None) -> None:
    """Draw rows from a stored fit, in the units of its data."""
    if n < 1:
        raise CommandError(f"-n {n}: must be at least 1")
    stored = load_fit(model)
    with precision(stored.document["dtype"]), reported():
        import jax

        x, z = stored.model.sample(jax.random.key(seed), stored.fit.params, n)
        x, z = np.asarray(x), np.asarray(z)
    if np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float64) * stored.scale + stored.shift
    write_frame(frame_of(x, stored.columns, component=z), out)


def scaled(values: np.ndarray, shift: np.ndarray, scale: np.ndarray, dtype: str) -> np.ndarray:
    """The coordinates that the parameters belong to, in the precision of the fit."""
    return ((values - shift) / scale).astype(dtype)


def posterior(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """Responsibilities `[n, k]`, some rows at a time."""
    pieces = [np.asarray(model.posterior(params, x[i : i + _ROWS])) for i in range(0, len(x), _ROWS)]
    return np.concatenate(pieces)


def assignments(responsibilities: np.ndarray):
    """Data frame of the most probable component and of the probability of each."""
    names = [f"responsibility_{j}" for j in range(responsibilities.shape[1])]
    return frame_of(responsibilities, names, label=responsibilities.argmax(1))


def _matching(table: Table, stored: Stored) -> Table:
    if set(stored.columns) <= set(table.columns):
        return choose(table, stored.columns)
    if len(table.columns) != len(stored.columns):
        raise CommandError(
            f"{table.name}: has {len(table.columns)} columns, the fit has {len(stored.columns)}: {', '.join(stored.columns)}"
        )
    return Table(table.values, stored.columns, table.name)
