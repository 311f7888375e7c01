"""Bad input: exit code 2, one line on standard error, no traceback, nothing written."""

import datetime
import errno
import os
import stat

import numpy as np
import polars
import pytest


def good():
    return np.random.default_rng(0).normal(size=(20, 2))


def save(x):
    np.save("x.npy", x)
    return "x.npy"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(refused, tmp_path, value):
    x = good()
    x[7, 1] = value
    line = refused("fit", save(x), "--model", "student-t-mixture")
    assert "row 7" in line
    assert "'x1'" in line


def test_missing_cells_are_named(refused, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,\n4,NA\n")
    line = refused("fit", "x.csv", "--model", "student-t-mixture")
    assert "row 1" in line
    assert "'b'" in line
    assert "2 of 3" in line


def test_text_is_named(refused, tmp_path):
    (tmp_path / "x.csv").write_text("size,species\n1,2\n2,setosa\n")
    line = refused("fit", "x.csv")
    assert "'species'" in line
    assert "'setosa'" in line
    assert "row 1" in line


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.arange(5.0), "one-dimensional|two-dimensional"),
        (np.zeros((2, 2, 2)), "two-dimensional"),
        (np.zeros((0, 2)), "no values"),
        (np.array([["a", "b"]]), "not real numbers"),
        (np.ones((4, 2), complex), "not real numbers"),
    ],
)
def test_arrays_that_are_no_tables(refused, x, words):
    assert any(word in refused("fit", save(x)) for word in words.split("|"))


def test_objects_are_not_unpickled(refused):
    np.save("x.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "not an array of numbers" in refused("fit", "x.npy")


def test_fewer_rows_than_components(refused):
    assert "only 3 rows" in refused("fit", save(good()[:3]), "--components", 4)


@pytest.mark.parametrize("text", ["5:2", "0", "-1:3", "x", "1:", ":3", "1:2:3", "2.5", ""])
def test_components_that_are_no_range(refused, text):
    assert "--components" in refused("fit", f"--components={text}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--columns", "waiting,depth"), "unknown column 'depth'"),
        (("--columns", "waiting,waiting"), "must name different columns"),
        (("--columns", ""), "must name different columns"),
        (("--restarts", "0"), "--restarts 0: must be at least 1"),
        (("--max-steps", "0"), "--max-steps 0"),
        (("--seed", "-1"), "--seed -1"),
        (("--tol", "nan"), "--tol nan"),
        (("--tol", "-1"), "--tol -1.0"),
        (("--model", "gauss"), "use one of gaussian-mixture, student-t-mixture"),
        (("--covariance", "half"), "use one of full, diagonal"),
        (("--criterion", "dic"), "use one of bic, aic, icl"),
        (("--dtype", "float16"), "use one of float64, float32"),
        (("--model", "poisson-mixture", "--standardize"), "--standardize"),
        (("--restarts", "many"), "--restarts"),
        (("--frobnicate",), "--frobnicate"),
        (("--seed", 2**40), "--seed 1099511627776: must be at most"),
        (("--max-steps", 2**40), "--max-steps 1099511627776: must be at most"),
        (("--restarts", 2**40), "--restarts 1099511627776: must be at most"),
        (("--time-limit", 0), "--time-limit 0.0: must be a positive number"),
        (("--resume",), "--resume: say which file"),
        (("--checkpoint", "no-such-folder/file"), "no folder no-such-folder"),
        (("--header",), "are for a file"),
        (("--no-header",), "are for a file"),
        (("--encoding", "latin-1"), "are for a file"),
        (("--encoding", "klingon"), "--encoding 'klingon': is no encoding"),
        (("--encoding", "base64"), "--encoding 'base64': is no encoding"),
        (("--columns", '"a,b'), "unknown column 'a,b'"),
    ],
)
def test_options(refused, options, words):
    assert words in refused("fit", *options)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "", "empty"),
        ("x.parquet", "", "empty"),
        ("x.npy", "", "empty"),
        ("x.csv", "a,b\n", "no rows"),
        ("x.xlsx", "a", "unknown extension '.xlsx'"),
        ("x", "a", "unknown extension ''"),
        ("x.parquet", "not parquet", "cannot be read as parquet"),
        ("x.npy", "not numpy", "not an array"),
        ("x.csv", "a,b\n1,2\n3,4,5\n", "cannot be read as csv"),
    ],
)
def test_files(refused, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    assert words in refused("fit", name)


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("a,b\n1,2\n3,x\n", (), "column 'b' holds text ('x' in row 1, counting from 0; line 3)"),
        ("a;b\n1;x\n", (), "column 'b' holds text"),
        ("a,a\n1,2\n", (), "2 columns are called 'a'"),
        ("a,b\n1,2\n3,inf\n", (), "'inf' is infinite"),
        ("x\n1\n2\n", ("--no-header",), "column 'x0' holds text ('x' in row 0, counting from 0; line 1)"),
        ("a\x1b[31m,b\n1,x\n", ("--columns", "c"), r"unknown column 'c': x.csv has a\x1b[31m, b"),
        ("a,b\n1,\n", ("--model", "student-t-mixture"), "row 0 (counting from 0), column 'b' is missing"),
        ("gr\u00f6\u00dfe,b\n1,2\n", ("--encoding", "ascii"), "--encoding ascii does not fit"),
    ],
)
def test_tables_that_are_none(refused, tmp_path, content, options, words):
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    assert words in refused("fit", "x.csv", *options)


@pytest.mark.parametrize(
    ("model", "content", "words"),
    [
        ("gaussian-mixture", "a,b\n1,2\n", "column 0 is constant"),
        ("gaussian-mixture", "a\n1\n1\n1\n", "column 0 is constant"),
        ("student-t-mixture", "1\n", "column 0 is constant"),
        ("factor-analysis", "a\n1\n2\n", "one column has nothing in common with others"),
        ("hmm", "a\n1\n", "column 0 is constant"),
    ],
)
def test_tables_that_are_too_small(refused, tmp_path, model, content, words):
    (tmp_path / "x.csv").write_text(content)
    assert words in refused("fit", "x.csv", "--model", model, "--components", 1, "--restarts", 1, "--quiet")


def test_bytes_that_are_no_text(refused, tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00a\x00,")
    assert "cannot be read as csv" in refused("fit", "x.csv")


def test_no_such_file(refused):
    assert "no such file" in refused("fit", "nothing.csv")
    assert "is a folder" in refused("fit", ".")


def test_columns_that_hold_no_numbers(refused):
    polars.DataFrame({"day": [datetime.date(2024, 1, 2)]}).write_parquet("x.parquet")
    assert "'day' holds Date" in refused("fit", "x.parquet")


def test_a_constant_column_is_explained_when_standardizing(refused):
    x = good()
    x[:, 0] = 0.1
    assert "'x0' is constant" in refused("fit", save(x), "--standardize")


def test_data_outside_the_support(refused):
    assert "row 0" in refused("fit", save(good() - 10), "--model", "poisson-mixture", "--components", 2)
    assert "row" in refused("fit", save(good()), "--model", "bernoulli-mixture", "--components", 2)


def test_an_output_that_cannot_be_a_folder(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "not a folder" in refused("fit", "--out", "file")
    assert "not a folder" in refused("fit", "--out", "file/deeper/out")
    assert "cannot be written" in refused("fit", "--out", "n" * 300)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(refused, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot be written" in refused("fit", "--out", locked / "out")
    locked.chmod(0o700)


def test_a_failure_on_the_way_leaves_nothing(run, monkeypatch, tmp_path):
    from jaxem.cli import _painter

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_painter, "draw", full)
    code, _, err = run("fit", "--components", 1, "--restarts", 4)
    assert code == 2
    assert "No space left" in err
    assert list(tmp_path.iterdir()) == []
