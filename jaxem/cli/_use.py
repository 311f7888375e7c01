"""`jaxem predict` and `jaxem sample`: a stored fit at work."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxem.cli._errors import CommandError, reported
from jaxem.cli._precision import precision
from jaxem.cli._store import Stored, load_fit
from jaxem.cli._tables import Table, check_finite, frame_of, read_table, write_frame

if TYPE_CHECKING:
    import polars

_ROWS = 65_536


def run_predict(model: Path, data: str, out: Path | None) -> None:
    """Assign the rows of a table to the components of a stored fit."""
    stored = load_fit(model)
    named = Path(data).suffix.lower() != ".npy"
    table = read_table(data, stored.columns) if named else _matching(read_table(data), stored)
    check_finite(table)
    with precision(stored.document["dtype"]), reported():
        x = ((table.values - stored.shift) / stored.scale).astype(stored.document["dtype"])
        stored.model.check(x, None)
        responsibilities = posterior(stored.model, stored.fit.params, x)
    write_frame(assignments(responsibilities), out)


def run_sample(model: Path, n: int, seed: int, out: Path | None) -> None:
    """Draw rows from a stored fit, in the units of its data."""
    import polars

    if n < 1:
        raise CommandError(f"-n {n}: must be at least 1")
    stored = load_fit(model)
    with precision(stored.document["dtype"]), reported():
        import equinox as eqx
        import jax

        draw = eqx.filter_jit(lambda key, params: stored.model.sample(key, params, n))
        x, z = draw(jax.random.key(seed), stored.fit.params)
        x, z = np.asarray(x), np.asarray(z)
    if np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float64) * stored.scale + stored.shift
    frame = frame_of(x, stored.columns)
    name = "component"
    while name in frame.columns:
        name += "_"
    write_frame(frame.insert_column(frame.width, polars.Series(name, z)), out)


def posterior(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """Responsibilities `[n, k]`, some rows at a time."""
    import equinox as eqx

    run = eqx.filter_jit(model.posterior)
    return np.concatenate([np.asarray(run(params, x[i : i + _ROWS])) for i in range(0, len(x), _ROWS)])


def assignments(responsibilities: np.ndarray) -> "polars.DataFrame":
    """Data frame of the most probable component and of the probability of each."""
    names = [f"responsibility_{j}" for j in range(responsibilities.shape[1])]
    import polars

    return frame_of(responsibilities, names).insert_column(0, polars.Series("label", responsibilities.argmax(1)))


def _matching(table: Table, stored: Stored) -> Table:
    if len(table.columns) != len(stored.columns):
        names = ", ".join(stored.columns)
        raise CommandError(f"{table.name}: has {len(table.columns)} columns, not {len(stored.columns)}: {names}")
    return Table(table.values, stored.columns, table.name)
