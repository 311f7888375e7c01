"""What the grid of shapes measured: kept in a file, and drawn for docs/speed.md."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_IMAGES = _HERE.parent / "docs" / "images"
_COVARIANCES = ("full", "tied", "diagonal", "spherical")
_DTYPES = ("float64", "float32")


def _path(backend: str) -> Path:
    return _HERE / f"shapes-{backend}.json"


def read(backend: str) -> dict[str, list[dict[str, Any]]]:
    """The cells of each kind that were measured on such a device."""
    path = _path(backend)
    return json.loads(path.read_text()) if path.exists() else {}


def write(backend: str, kind: str, cells: list[dict[str, Any]], labels: list[str]) -> list[dict[str, Any]]:
    """Put cells of one kind in the place of what was measured of them before, in the order of `labels`.

    Returns all cells of that kind. What is not a number is left out.
    """
    plain = [json.loads(json.dumps(cell), parse_constant=lambda _: None) for cell in cells]
    lines = read(backend)
    known = {(cell["cell"], cell["dtype"]): cell for cell in [*lines.get(kind, []), *plain]}
    lines[kind] = [known[label, dtype] for label in labels for dtype in _DTYPES if (label, dtype) in known]
    text = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(cell) for cell in of_kind) + "\n]" for name, of_kind in lines.items()
    )
    _path(backend).write_text(f"{{\n{text}\n}}\n")
    return lines[kind]


def draw(cells: dict[str, list[dict[str, Any]]]) -> None:
    """Pictures of Gaussian mixtures: columns by members, for each structure of covariances and precision."""
    mixtures = [cell for cell in cells.get("gaussian", []) if cell["starts"] == 1 and cell["n"] > 272]
    pictures = {
        "speed-ratio": ("scikit-learn's time over jaxem's", lambda cell: _ratio(cell), (1 / 16, 16), "{:.2g}"),
        "speed-share": ("share of the limit, percent", lambda cell: 100 * cell["share"], (10, 100), "{:.0f}"),
        "speed-rows": ("microseconds for a thousand rows", lambda cell: _for_rows(cell), (20, 2e5), "{:.3g}"),
    }
    for name, (title, value, ends, form) in pictures.items():
        _figure(mixtures, title, value, ends, form).savefig(_IMAGES / f"{name}.png", dpi=110)


def _ratio(cell: dict[str, Any]) -> float:
    return cell["others"].get("scikit-learn") or math.nan


def _for_rows(cell: dict[str, Any]) -> float:
    return 1e6 * cell["milliseconds"] / cell["n"]


def _figure(cells: list[dict[str, Any]], title: str, value: Any, ends: tuple[float, float], form: str) -> Any:
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    columns, members = (sorted({cell[name] for cell in cells}) for name in ("d", "k"))
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    norm = LogNorm(*ends, clip=True)
    for line, dtype in zip(panels, _DTYPES, strict=True):
        for panel, covariance in zip(line, _COVARIANCES, strict=True):
            grid = np.full((len(members), len(columns)), np.nan)
            for cell in cells:
                if (cell["covariance"], cell["dtype"]) == (covariance, dtype) and cell.get("milliseconds"):
                    grid[members.index(cell["k"]), columns.index(cell["d"])] = value(cell)
            panel.imshow(
                grid, origin="lower", aspect="auto", cmap="RdYlGn" if "rows" not in title else "viridis_r", norm=norm
            )
            for (i, j), number in np.ndenumerate(grid):
                if np.isfinite(number):
                    panel.text(j, i, form.format(number), ha="center", va="center", fontsize=8)
            panel.set_title(f"{covariance}, {dtype}", fontsize=9)
            panel.set_xticks(range(len(columns)), [str(d) for d in columns])
            panel.set_yticks(range(len(members)), [str(k) for k in members])
    figure.supxlabel("columns", fontsize=9)
    figure.supylabel("members", fontsize=9)
    figure.suptitle(f"Gaussian mixtures, an iteration: {title}", fontsize=10)
    return figure
