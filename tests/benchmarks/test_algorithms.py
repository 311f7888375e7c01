"""The comparison of variants runs end to end at a small size; nothing is timed."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks._runs import Trace
from benchmarks.algorithms import within

ROOT = Path(__file__).resolve().parents[2]


def trace(*values: float, status: str = "converged") -> Trace:
    steps = np.arange(len(values))
    return Trace(steps, steps, np.array(values), None, status)


@pytest.mark.slow
def test_quick_run_prints_every_variant():
    pytest.importorskip("scipy")
    command = [sys.executable, "-m", "benchmarks.algorithms", "--quick", "--repetitions", "1", "--only", "london"]
    env = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("| ")}
    assert {"em", "squarem", "incremental_em", "stepwise_em, averaged", "newton", "scipy L-BFGS"} <= set(rows)
    # Newton's method reaches the maximum of three parameters whatever the machine.
    assert "short" not in rows["newton"]


def test_a_monotone_run_counts_from_its_first_iterate_within_the_gap():
    assert within(trace(-1.0, -0.05, -0.5, -0.01), 0.0, 0.1, monotone=True) == 1


def test_a_run_that_may_fall_counts_from_where_it_stays_within_the_gap_for_as_long_again():
    assert within(trace(-1.0, -0.05, -0.5, -0.01), 0.0, 0.1, monotone=False) == 3
    assert within(trace(-1.0, -0.5, -0.01, -0.01, -0.01, -0.5), 0.0, 0.1, monotone=False) == 2
    assert within(trace(-0.01, -0.02), 0.0, 0.1, monotone=False) == 0
    assert within(trace(-1.0, -0.5, -0.01, -0.01, status="completed"), 0.0, 0.1, monotone=False) is None


def test_a_run_that_never_comes_near_has_no_such_iterate():
    assert within(trace(-1.0, -0.5), 0.0, 0.1, monotone=True) is None
    assert within(trace(-1.0, -0.05, -0.5, -0.5), 0.0, 0.1, monotone=False) is None
    assert within(trace(-1.0, math.nan), 0.0, 0.1, monotone=True) is None
