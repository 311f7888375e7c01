"""The picture of a fit, drawn by another process."""

import sys

import pytest

from jaxem.cli import _painter

MODELS = ("gaussian-mixture", "hmm", "factor-analysis")


@pytest.fixture
def drawn(run, tmp_path):
    """The bytes of `fit.png`."""

    def fit(*arguments):
        code, _, err = run("fit", "--restarts", 2, "--quiet", *arguments)
        assert (code, err) == (0, "")
        return (tmp_path / "jaxem-fit" / "fit.png").read_bytes()

    return fit


@pytest.mark.parametrize("model", MODELS)
def test_another_process_draws_the_same_picture(model, drawn, monkeypatch):
    here = drawn("--model", model, "--components", 1, "--max-steps", 3)
    monkeypatch.setattr(_painter, "owns_process", lambda: True)
    monkeypatch.setattr(_painter, "_paint", None)  # this process draws nothing
    assert drawn("--model", model, "--components", 1, "--max-steps", 3) == here


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import sys; sys.stdin.close(); raise SystemExit(1)"])
def test_this_process_draws_where_the_other_fails(code, drawn, monkeypatch):
    monkeypatch.setattr(_painter, "owns_process", lambda: True)
    monkeypatch.setattr(_painter, "_COMMAND", (sys.executable, "-c", code))
    assert drawn("--components", 1).startswith(b"\x89PNG")


def test_where_python_has_no_name_there_is_no_other_process(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(_painter, "owns_process", lambda: True)
    with _painter.painter() as paint:
        assert paint is _painter._paint


def test_a_process_without_work_ends_by_itself():
    process = _painter._begun()
    _painter._end(process)
    assert process.wait(60) == 0
