"""The benchmark command runs end to end at small sizes; nothing is timed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _grid, _heat_maps, _report, coverage
from benchmarks.scenarios import MODELS, SCENARIOS
from benchmarks.scenarios.inference import INFERENCE

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "scenario"),
    [("mixtures", name) for name in SCENARIOS]
    + [("models", name) for name in MODELS]
    + [("inference", name) for name in INFERENCE],
)
def test_quick_run_prints_a_table(command, scenario):
    pytest.importorskip("sklearn")
    command = [sys.executable, "-m", f"benchmarks.{command}", "--quick", "--repetitions", "1", "--only", scenario]
    env = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and ("jaxem" in line or "fit |" in line)]
    assert rows, done.stdout


@pytest.mark.slow
def test_coverage_runs_at_small_sizes():
    kinds = ["Poisson mixture", "factor analysis"]
    command = [sys.executable, "-m", "benchmarks.coverage", "--quick", "--only", *kinds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    shares = {row.split(" | ")[0][2:]: row.split(" | ")[4] for row in done.stdout.splitlines()[2:]}
    assert list(shares) == kinds
    assert all(60 < float(share) <= 100 for share in shares.values())


def test_coverage_counts_the_intervals_that_are_there():
    found = coverage.Coverage(np.array([6, 0, 5]), np.array([8, 4, 5]), 10, 2)
    row = dict(zip(coverage.HEADERS, found.row("a", 1000), strict=True))
    assert (row["n"], row["parameters"], row["lowest"], row["mean"]) == ("1,000", "2", "75.0", "87.5")
    assert row["failed"] == "20.0%"


@pytest.mark.slow
def test_the_grid_runs_at_small_sizes():
    pytest.importorskip("sklearn")
    pytest.importorskip("hmmlearn")
    command = [sys.executable, "-m", "benchmarks.shapes", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "failed" not in done.stdout
    cells = [cell for kind in _grid.groups(quick=True).values() for cell in kind]
    rows = [line for line in done.stdout.splitlines() if "| float" in line]
    assert len(rows) == 2 * len(cells)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["device", "scaling"])
def test_what_is_measured_of_devices_runs(command):
    command = [sys.executable, "-m", f"benchmarks.{command}", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| claim |" in done.stdout
    assert "**no**" not in done.stdout


def test_the_grid_has_the_shapes_that_it_should():
    cells = _grid.groups(quick=False)
    labels = [cell.label for kind in cells.values() for cell in kind]
    assert len(labels) == len(set(labels))
    for part in ("d=256", "k=128", "16 starts", "1 x 100,000", "50 patterns", "1,000,000", "5 factors", "20 states"):
        assert any(part in label for label in labels), part
    assert all(cell.flops > 0 and cell.numbers > 0 for kind in cells.values() for cell in kind)


def test_what_the_grid_found_is_kept_and_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(_heat_maps, "_HERE", tmp_path)
    monkeypatch.setattr(_heat_maps, "_IMAGES", tmp_path)
    cells = [
        {"covariance": "full", "n": 1000, "d": d, "k": 2, "starts": 1, "dtype": "float64", "milliseconds": 2.0 * d}
        | {"share": 0.5, "others": {"scikit-learn": 3.0 if d > 2 else float("nan")}}
        for d in (2, 16)
    ]
    cells.append({**cells[1], "milliseconds": None, "failed": "died", "d": 64})
    cells = [{**cell, "cell": f"d={cell['d']}"} for cell in cells]
    labels = ["d=16", "d=2", "d=64"]
    _heat_maps.write("cpu", "kmeans", cells[:1], labels)
    assert _heat_maps.write("cpu", "gaussian", cells[::2], labels)[1:] == cells[2:]
    # The others stay, in the order of the grid, and what it no longer has goes.
    again = {**cells[2], "d": 65}
    _heat_maps.write("cpu", "gaussian", [cells[1], again], labels)
    kept = _heat_maps.read("cpu")
    assert kept["kmeans"] == [{**cells[0], "others": {"scikit-learn": None}}]
    assert kept["gaussian"] == [cells[1], *kept["kmeans"], again]
    assert len(_heat_maps.write("cpu", "gaussian", [], labels[:2])) == 2
    _heat_maps.draw(kept)
    assert {path.name for path in tmp_path.glob("*.png")} == {"speed-ratio.png", "speed-share.png", "speed-rows.png"}


def test_tables_replace_their_predecessors(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Benchmarks\n")
    _report.write("cpu", "one-start", "first", path)
    _report.write("cpu", "memory", "other", path)
    _report.write("cpu", "one-start", "second", path)
    text = path.read_text()
    assert text.startswith("# Benchmarks\n")
    assert "first" not in text
    assert text.index("second") < text.index("other")
    assert text.count("<!-- begin") == 2


def test_claims_say_whether_they_hold():
    section = _report.Section(
        "a", "A", "Text.", ["x", "y"], [["1", "2"]], [("up", 3.0, ">=", 4), ("low", 1.0, "<=", 2)]
    )
    lines = section.markdown().splitlines()
    assert "| up | 3 | >= 4 | **no** |" in lines
    assert "| low | 1 | <= 2 | yes |" in lines


@pytest.mark.slow
def test_layers_run_at_small_sizes():
    command = [sys.executable, "-m", "benchmarks.layers", "--steps", "3", "--shape", "2", "12", "2", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len([line for line in done.stdout.splitlines() if line.startswith(("by hand", "layer"))]) == 5
