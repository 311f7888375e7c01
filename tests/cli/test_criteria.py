"""The command line prints the criteria that Python computes."""

import json
from pathlib import Path

import numpy as np
import pytest

import jaxem
from jaxem.cli._store import load_fit

QUICK = ("--restarts", 2, "--quiet", "--dtype", "float64")
RNG = np.random.default_rng(5)


def fitted(run, x, *options):
    np.save("x.npy", x)
    code, _, err = run("fit", "x.npy", "--components", 2, *options, *QUICK)
    assert (code, err) == (0, "")
    document = json.loads(Path("jaxem-fit", "fit.json").read_text())
    return document, load_fit("jaxem-fit")


def same(document, stored, data, count):
    model, params = stored.model, stored.fit.params
    parameters = model.num_parameters(params)
    assert document["num_parameters"] == parameters
    for name in ("aic", "bic", "icl"):
        assert document[name] == pytest.approx(float(getattr(jaxem, name)(model, params, data)), rel=1e-9)
    assert document["bic"] == pytest.approx(-2 * document["log_likelihood"] + parameters * np.log(count), rel=1e-9)


def test_categorical_columns(run):
    """Two categories, five that are coded from 1, and three with a gap."""
    side = RNG.integers(0, 2, 120)
    x = np.stack(
        [(RNG.random(120) < 0.2 + 0.6 * side), 1 + (RNG.integers(0, 5, 120) + side) % 5, 2 * RNG.integers(0, 3, 120)], 1
    )
    document, stored = fitted(run, x.astype(float), "--model", "categorical-mixture")
    assert document["options"]["num_categories"] == [2, 6, 5]
    assert document["num_parameters"] == 1 + 2 * (1 + 4 + 2)
    same(document, stored, x.astype(float), 120)
    assert run("predict", "jaxem-fit", "x.npy")[0] == 0
    assert run("sample", "jaxem-fit", "-n", 5)[0] == 0
    x[0, 0] = 2
    np.save("x.npy", x.astype(float))
    code, _, err = run("predict", "jaxem-fit", "x.npy")
    assert code == 2
    assert "is not one of the categories 0 to 1" in err


@pytest.mark.slow
def test_steps_of_a_hidden_markov_model(run):
    x = 4.0 * (np.arange(90) // 30 == 1)[:, None] + RNG.normal(size=(90, 1))
    x[40:44] = np.nan
    document, stored = fitted(run, x, "--model", "hmm", "--covariance", "diagonal")
    same(document, stored, jaxem.Sequences(x[None]), 86)
    assert document["icl"] >= document["bic"]
