"""`jaxem predict` and `jaxem sample`: a stored fit at work."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxem.cli._errors import CommandError, reported
from jaxem.cli._precision import precision
from jaxem.cli._request import LARGEST, check_encoding
from jaxem.cli._store import load_fit
from jaxem.cli._tables import check_finite, frame_of, read_table, write_frame
from jaxem.cli.kinds import Assignment

if TYPE_CHECKING:
    import polars


def run_predict(
    model: Path, data: str, out: Path | None, header: bool | None = None, encoding: str | None = None
) -> None:
    """Assign the rows of a table to the components of a stored fit; its columns are found by their names."""
    check_encoding(encoding)
    stored = load_fit(model)
    table = read_table(data, stored.columns, header=header, encoding=encoding, fitted=True)
    check_finite(table, stored.kind.missing is not None)
    with precision(stored.document["dtype"]), reported():
        x = ((table.values - stored.shift) / stored.scale).astype(stored.document["dtype"])
        fitted = stored.model_for(x)
        seen = x[~np.isnan(x).all(1)]
        if len(seen):
            fitted.distribution.check_rows(seen)
        table.tell("note")
        found = stored.kind.assign(fitted, stored.fit.params, x)
    write_frame(assignments(found), out)


def run_sample(model: Path, n: int, seed: int, out: Path | None) -> None:
    """Draw rows from a stored fit, in the units of its data."""
    import polars

    for option, value, low in (("-n", n, 1), ("--seed", seed, 0)):
        if not low <= value <= LARGEST:
            raise CommandError(f"{option} {value}: must be at {f'least {low}' if value < low else f'most {LARGEST}'}")
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
