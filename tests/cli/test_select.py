"""`jaxem select`: a table of models of several kinds, as `jaxem.select` has it."""

import jax
import numpy as np
import polars
import pytest

import jaxem
from jaxem import datasets

QUICK = ("--restarts", "2", "--components", "1:2")


@pytest.mark.slow
def test_the_table_is_that_of_the_library(run, tmp_path):
    arguments = ("--covariance", "full,tied", *QUICK, "--out", "t.csv", "--picture", "c.png")
    code, out, err = run("select", *arguments)
    assert (code, err) == (0, "")
    assert "Chosen by BIC (smaller is better)" in out
    assert "jaxem fit --model gaussian-mixture --components 2 --covariance full fits it again." in out
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    table = polars.read_csv(tmp_path / "t.csv")
    assert table["covariance"].to_list() == ["full", "full", "tied", "tied"]
    assert table["components"].to_list() == [1, 2, 1, 2]
    # The maxima of mclust (Scrucca et al. 2016), run to convergence: models VVV and EEE.
    np.testing.assert_allclose(table["bic"].to_list()[1::2], [2322.19174, 2325.21994], atol=2e-4)
    assert table["chosen"].to_list() == [row == table["bic"].min() for row in table["bic"]]


@pytest.mark.slow
def test_cross_validation(run, tmp_path):
    options = ("--criterion", "cv", "--folds", 3, "--one-standard-error")
    code, out, _ = run("select", *options, *QUICK, "--model", "gaussian-mixture,student-t-mixture", "--out", "t.csv")
    assert code == 0
    assert "larger is better" in out
    assert "±" in out
    table = polars.read_csv(tmp_path / "t.csv")
    assert table["model"].to_list() == ["gaussian-mixture"] * 2 + ["student-t-mixture"] * 2
    with jax.enable_x64(True):
        models = [make(k) for make in (jaxem.GaussianMixture, jaxem.StudentTMixture) for k in (1, 2)]
        found = jaxem.select(
            models,
            datasets.old_faithful().data,
            key=jax.random.key(0),
            restarts=2,
            criterion="cv",
            folds=3,
            tol=1e-9,
            max_steps=5000,
            algorithm=jaxem.squarem(tail=True),
            termination=jaxem.termination.Aitken(),
        )
    np.testing.assert_allclose(table["cv"].to_list(), [row["cv"] for row in found.table], rtol=1e-6)


def test_nothing_is_printed_or_written_unless_asked_for(run, tmp_path):
    assert run("select", "--components", 2, "--restarts", 1, "--quiet") == (0, "", "")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--criterion", "waic"), "--criterion waic: use one of bic, aic, icl, cv"),
        (("--model", "gaussian-mixture,gmm"), "--model gmm: use one of"),
        (("--covariance", "full,half"), "--covariance half: use one of"),
        (("--one-standard-error",), "is for --criterion cv"),
        (("--picture", "c.pdf"), "--picture c.pdf: must end in .png"),
        (("--model", "hmm,gaussian-mixture"), "rows are steps of a sequence for some"),
        (("--criterion", "cv", "--folds", "1"), "folds must be at least 2"),
        (("--criterion", "cv", "--folds", "1000"), "folds is 1000, but there are 272 observations"),
        (("--components", "0"), "must be at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(refused, options, words):
    assert words in refused("select", *options)
