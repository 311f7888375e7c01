"""`jaxem test`: a model against a larger one, and the bootstrap of `jaxem fit`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

import jaxem
from jaxem import datasets
from jaxem.cli import _signals, load_fit
from jaxem.cli._errors import CommandError
from jaxem.cli._ratio import spelled

QUICK = ("--restarts", 2, "--samples", 19)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "JAXEM_CACHE": "off"}


def counts(folder):
    days = [162, 267, 271, 185, 111, 61, 27, 8, 3, 1]
    lines = [str(deaths) for deaths, often in enumerate(days) for _ in range(often)]
    (folder / "times.csv").write_text("\n".join(["deaths", *lines]))


@pytest.mark.slow
def test_one_component_against_two(run, tmp_path):
    counts(tmp_path)
    options = ("--model", "poisson-mixture", "--null", 1, "--alternative", 2, *QUICK, "--out", "t.json")
    code, out, err = run("test", "times.csv", *options)
    assert (code, err) == (0, "")
    days = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    mean = np.arange(10) @ days / days.sum()
    alone = days @ stats.poisson(mean).logpmf(np.arange(10))
    assert f"Poisson mixture, 1 component: log-likelihood {alone:.4f}" in out
    assert "p value 0.05 ± 0.05, from 19 samples" in out
    found = json.loads((tmp_path / "t.json").read_text())
    # The maximum with two components: see `tests/information/test_profile.py`, where SciPy has it.
    assert found["statistic"] == pytest.approx(2 * (-1989.9459 - alone), abs=1e-3)
    assert (found["degrees_of_freedom"], found["p_value"], len(found["samples"])) == (2, 0.05, 19)
    assert found["alternative"]["num_components"] == 2
    assert found["null"]["covariance"] is None
    assert found["whole"]


def test_structures_by_chi_square(run, tmp_path):
    options = ("--null", "1:diagonal", "--alternative", "1:full", "--method", "wilks", "--restarts", 1, "-o", "t.json")
    code, out, err = run("test", *options)
    assert (code, err) == (0, "")
    assert "by chi-square" in out
    found = json.loads((tmp_path / "t.json").read_text())
    correlation = np.corrcoef(datasets.old_faithful().data.T)[0, 1]
    assert found["statistic"] == pytest.approx(-272 * np.log1p(-(correlation**2)), rel=1e-9)
    assert found["degrees_of_freedom"] == 1
    assert found["samples"] == []
    assert [found[side]["covariance"] for side in ("null", "alternative")] == ["diagonal", "full"]
    assert run("test", *options, "--quiet") == (0, "", "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", ("gaussian-mixture", "3", "full")),
        ("poisson-mixture:2", ("poisson-mixture", "2", "full")),
        ("2:tied", ("gaussian-mixture", "2", "tied")),
        ("student-t-mixture : 1 : spherical", ("student-t-mixture", "1", "spherical")),
    ],
)
def test_spellings(text, wanted):
    found = spelled("null", text, "gaussian-mixture", "full")
    assert (found["model"], found["components"], found["covariance"]) == wanted


def test_spellings_that_say_nothing():
    with pytest.raises(CommandError, match="say how many components"):
        spelled("null", "poisson-mixture", "gaussian-mixture", "full")
    with pytest.raises(CommandError, match="--null two: 'two' is none of a number of components"):
        spelled("null", "two", "gaussian-mixture", "full")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--alternative", 2), "null"),
        (("--null", 1, "--alternative", "2:3x"), "'3x' is none of"),
        (("--null", 0, "--alternative", 2), "must be at least 1"),
        (("--null", 1, "--alternative", "hmm:2"), "steps of a sequence for one of the models"),
        (("--null", 1, "--alternative", 2, "--method", "wald"), "--method wald: use one of bootstrap, wilks"),
        (("--null", 1, "--alternative", 2, "--method", "wilks", "--restarts", 1), "use method='bootstrap'"),
        (("--null", 1, "--alternative", 2, "--samples", 0), "--samples 0: must be at least 1"),
        (
            ("--null", 1, "--alternative", 2, "--stop-after", 500),
            "--stop-after 500: must be at least 1 and at most 199",
        ),
        (("--null", 1, "--alternative", 2, "--time-limit", 0), "--time-limit 0.0: must be a positive number"),
        (("--null", 1, "--alternative", 2, "--out", "t.txt"), "must end in .json"),
        (("--null", 1, "--alternative", 300), "there are only 272 rows"),
        (("--null", 1, "--alternative", 2, "--seed", -1), "--seed -1"),
    ],
)
def test_refusals(refused, options, words):
    assert words in refused("test", *options)


@pytest.mark.slow
def test_what_is_done_at_the_time_limit_is_kept(run, tmp_path):
    counts(tmp_path)
    options = ("--model", "poisson-mixture", "--null", 1, "--alternative", 2, "--restarts", 2, "--samples", 200)
    code, out, _ = run("test", "times.csv", *options, "--time-limit", 1e-3, "--out", "t.json")
    assert code == 0
    assert "ended early" in out
    found = json.loads((tmp_path / "t.json").read_text())
    assert len(found["samples"]) == 50
    assert not found["whole"]


# The bootstrap of `jaxem fit`


@pytest.mark.slow
def test_bootstrap_errors_stand_beside_the_others(run, tmp_path):
    options = ("--components", 2, "--restarts", 2, "--bootstrap", 30, "--seed", 2, "--out", "e")
    code, out, err = run("fit", *options)
    assert (code, err) == (0, "")
    assert "bootstrap error" in out
    assert "95% percentile intervals" in out
    stored = load_fit(tmp_path / "e")
    kept = stored.document["standard_errors"]
    assert kept["bootstrap"] == {"samples": 30, "failed": 0, "kind": "nonparametric", "note": ""}
    with jax.enable_x64(True):
        x = datasets.old_faithful().data
        params = jax.tree.map(np.asarray, stored.fit.params)
        drawn = jaxem.bootstrap(
            stored.model,
            params,
            x,
            key=jax.random.fold_in(jax.random.key(2), 1),
            replicates=30,
            max_steps=5000,
        )
        errors, lower = drawn.standard_errors.components.mean, drawn.interval().lower.components.mean
    rows = {(row["member"], row["parameter"], row["column"]): row for row in kept["table"]}
    for member in (0, 1):
        own = rows[member, "mean", "waiting"]
        assert own["bootstrap_error"] == pytest.approx(float(errors[member, 1]), rel=1e-6)
        assert own["bootstrap_lower"] == pytest.approx(float(lower[member, 1]), rel=1e-6)
        assert own["standard_error"] > 0
    assert (tmp_path / "e" / "fit.png").stat().st_size > 0


@pytest.mark.slow
def test_steps_of_a_sequence_are_drawn_from_the_model(run, tmp_path):
    np.save("x.npy", datasets.old_faithful().data[:80])
    code, _, err = run("fit", "x.npy", "--model", "hmm", "--components", 1, "--restarts", 1, "--bootstrap", 4)
    assert (code, err) == (0, "")
    kept = load_fit(tmp_path / "jaxem-fit").document["standard_errors"]
    assert (kept["bootstrap"]["kind"], kept["bootstrap"]["samples"]) == ("parametric", 4)


def test_too_few_samples_are_refused(refused):
    assert "--bootstrap 1: must be at least 2" in refused("fit", "--bootstrap", 1)


# Interrupts


def test_the_first_interrupt_asks_and_only_within_the_block():
    asks = []
    with _signals.asked(lambda: asks.append(1)):
        assert len(_signals._asks) == 1
    assert not _signals._asks


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_keeps_the_samples_that_are_done(tmp_path):
    """The first one lets the part that runs end; what was asked for is written."""
    code = """
import sys, jaxem, jaxem.cli as c
from jaxem.resampling import _rounds as module
fitted, told = module.fit_many, []
def tell(*args, **kwargs):
    found = fitted(*args, **kwargs)
    told.append(1)
    if len(told) == 1:
        print("ready", flush=True)
        import time
        time.sleep(20)
    return found
module.fit_many = tell
sys.exit(c.main())
"""
    options = ["fit", "--components", "1", "--restarts", "1", "--bootstrap", "200", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", code, *options]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "jaxem: note: interrupted" in err
    assert "bootstrap: interrupted after 50 of 200 samples" in out
    kept = json.loads((tmp_path / "out" / "fit.json").read_text())["standard_errors"]
    assert kept["bootstrap"]["samples"] == 50
