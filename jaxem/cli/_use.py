"""`jaxem predict` and `jaxem sample`: a stored fit at work."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxem.cli._errors import CommandError, reported
from jaxem.cli._precision import precision
from jaxem.cli._store import Stored, load_fit
from jaxem.cli._tables import Table, check_finite, frame_of, read_table, write_frame
from jaxem.cli.kinds import Assignment

if TYPE_CHECKING:
    import polars


def run_predict(model: Path, data: str, out: Path | None) -> None:
    """Assign the rows of a table to the components of a stored fit."""
    stored = load_fit(model)
    named = Path(data).suffix.lower() != ".npy"
    table = read_table(data, stored.columns) if named else _matching(read_table(data), stored)
    check_finite(table, stored.kind.missing is not None)
    with precision(stored.document["dtype"]), reported():
        x = ((table.values - stored.shift) / stored.scale).astype(stored.document["dtype"])
        fitted = stored.model_for(x)
        seen = x[~np.isnan(x).all(1)]
        if len(seen):
            fitted.distribution.check_rows(seen)
        found = stored.kind.assign(fitted, stored.fit.params, x)
    write_frame(assignments(found), out)


def run_sample(model: Path, n: int, seed: int, out: Path | None) -> None:
    """Draw rows from a stored fit, in the units of its data."""
    import polars

    if n < 1:
        raise CommandError(f"-n {n}: must be at least 1")
    stored = load_fit(model)
    with precision(stored.document["dtype"]), reported():
        import equinox as eqx
        import jax

        draw = eqx.filter_jit(lambda key, params: stored.kind.sample(stored.model, params, key, n))
        x, z = draw(jax.random.key(seed), stored.fit.params)
        x = np.asarray(x)
    if np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float64) * stored.scale + stored.shift
    frame = frame_of(x, stored.columns)
    if not isinstance(z, tuple):
        name = stored.kind.unit
        while name in frame.columns:
            name += "_"
        frame = frame.insert_column(frame.width, polars.Series(name, np.asarray(z)))
    write_frame(frame, out)


def assignments(found: Assignment) -> "polars.DataFrame":
    """Data frame of the component of every row, where it has one, and of what else the fit says of it."""
    import polars

    frame = frame_of(found.values, found.names)
    return frame.insert_column(0, polars.Series("label", found.labels)) if len(found.labels) else frame


def _matching(table: Table, stored: Stored) -> Table:
    if len(table.columns) != len(stored.columns):
        names = ", ".join(stored.columns)
        raise CommandError(f"{table.name}: has {len(table.columns)} columns, not {len(stored.columns)}: {names}")
    return Table(table.values, stored.columns, table.name)
