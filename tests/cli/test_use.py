import io
import json

import numpy as np
import polars
import pytest

from jaxem import datasets


@pytest.fixture
def geyser(run, tmp_path):
    data = datasets.old_faithful()
    path = tmp_path / "geyser.csv"
    polars.DataFrame(data.data, schema=list(data.columns)).write_csv(path)
    return path


def table(text):
    return polars.read_csv(io.StringIO(text))


def test_predict_gives_what_fit_assigned(run, fitted, geyser):
    code, out, err = run("predict", fitted, geyser)
    assert (code, err) == (0, "")
    assert out == (fitted / "assignments.csv").read_text()
    assert run("predict", fitted / "fit.json", geyser)[1] == out


def test_predict_finds_its_columns_by_name(run, fitted, geyser):
    frame = polars.read_csv(geyser)
    frame.select("waiting", polars.lit("x").alias("note"), "eruptions").write_parquet("shuffled.parquet")
    assert run("predict", fitted, "shuffled.parquet")[1] == run("predict", fitted, geyser)[1]


def test_predict_says_which_columns_it_does_not_use(run, fitted, geyser):
    frame = polars.read_csv(geyser)
    frame.select("waiting", polars.lit("x").alias("note"), "eruptions", polars.lit(1).alias("id")).write_csv("more.csv")
    code, out, err = run("predict", fitted, "more.csv")
    assert (code, out) == (0, run("predict", fitted, geyser)[1])
    assert err == "jaxem: note: more.csv: the fit does not use the columns note, id\n"


def test_predict_reads_standard_input_and_other_notations(run, fitted, geyser, monkeypatch):
    expected = run("predict", fitted, geyser)[1]
    text = polars.read_csv(geyser).write_csv(separator=";").replace(".", ",")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-16"))))
    code, out, err = run("predict", fitted, "-", "--encoding", "utf-16", "--header")
    assert (code, out) == (0, expected)
    assert err == (
        "jaxem: note: standard input: its columns are separated by semicolons\n"
        "jaxem: note: standard input: its decimal marks are commas\n"
    )


def test_predict_takes_what_could_not_be_fitted(run, fitted, geyser):
    """A single row, in which every column is constant."""
    polars.read_csv(geyser)[:1].write_csv("one.csv")
    code, out, err = run("predict", fitted, "one.csv")
    assert (code, err) == (0, "")
    found, expected = table(out), polars.read_csv(fitted / "assignments.csv")[:1]
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-12)


def test_predict_writes_a_file(run, fitted, geyser, tmp_path):
    assert run("predict", fitted, geyser, "--out", "deep/labels.parquet") == (0, "", "")
    written = polars.read_parquet(tmp_path / "deep" / "labels.parquet")
    assert written.equals(polars.read_csv(fitted / "assignments.csv"))


def test_predict_of_a_standardized_fit_takes_data_in_their_own_units(run, geyser, tmp_path):
    options = ("--components", 2, "--restarts", 4, "--quiet", "--out")
    assert run("fit", geyser, "--standardize", *options, "z")[0] == 0
    assert run("predict", "z", geyser)[1] == (tmp_path / "z" / "assignments.csv").read_text()


def test_sample_has_the_moments_of_the_fit(run, fitted):
    code, out, _ = run("sample", fitted, "-n", 20_000, "--seed", 1)
    drawn = table(out)
    assert code == 0
    assert drawn.columns == ["eruptions", "waiting", "component"]
    # An EM fixed point reproduces the first two moments of its data.
    data = datasets.old_faithful().data
    np.testing.assert_allclose(drawn[:, :2].to_numpy().mean(0), data.mean(0), rtol=0.01)
    np.testing.assert_allclose(drawn[:, :2].to_numpy().std(0), data.std(0), rtol=0.02)
    weights = json.loads((fitted / "fit.json").read_text())["params"]["weights"]
    np.testing.assert_allclose(np.bincount(drawn["component"].to_numpy()) / 20_000, weights, atol=0.015)


def test_sample_of_a_standardized_fit_is_in_the_units_of_the_data(run, geyser):
    assert run("fit", geyser, "--standardize", "--components", 1, "--restarts", 4, "--quiet", "--out", "z")[0] == 0
    drawn = table(run("sample", "z", "-n", 5000)[1])
    np.testing.assert_allclose(drawn[:, :2].to_numpy().mean(0), datasets.old_faithful().data.mean(0), rtol=0.02)


def test_sample_repeats_with_its_seed(run, fitted):
    first, again, other = (run("sample", fitted, "-n", 3, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_wrong_models_and_data_are_refused(refused, run, fitted, geyser, tmp_path):
    assert "no such file" in refused("predict", tmp_path / "nothing", geyser)
    (tmp_path / "broken.json").write_text("{")
    assert "no fit of jaxem" in refused("sample", "broken.json")
    (tmp_path / "other.json").write_text('{"format": 1, "model": "gaussian-mixture"}')
    assert "missing" in refused("sample", "other.json")
    (tmp_path / "future.json").write_text('{"format": 99}')
    assert "version" in refused("sample", "future.json")
    assert "-n 0" in refused("sample", fitted, "-n", 0)
    assert "unknown extension" in refused("sample", fitted, "--out", "x.docx")
    np.save(tmp_path / "wide.npy", np.zeros((3, 5)))
    assert "5 columns" in refused("predict", fitted, "wide.npy")
    (tmp_path / "short.csv").write_text("eruptions\n1\n")
    assert "unknown column 'waiting': short.csv has eruptions" in refused("predict", fitted, "short.csv")
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    line = refused("predict", fitted, "bare.csv")
    assert "unknown column 'eruptions': bare.csv has x0, x1 (its first line was taken for data: --header" in line
    (tmp_path / "bare.json").write_text((fitted / "fit.json").read_text().replace("eruptions", "x0"))
    assert "unknown column 'x0': short.csv has eruptions" in refused("predict", "bare.json", "short.csv")
    assert "--seed -1" in refused("sample", fitted, "--seed", -1)
    assert "-n 2147483648: must be at most" in refused("sample", fitted, "-n", 2**31)
    assert "no encoding of text" in refused("predict", fitted, "short.csv", "--encoding", "hex")
