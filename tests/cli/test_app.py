import warnings

import pytest

from jaxem.cli import _progress
from jaxem.cli._request import parse_components


def test_help_and_version(run):
    for arguments in ((), ("--help",), ("-h",)):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert all(name in out for name in ("fit", "predict", "sample"))
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("jaxem ")


def test_components():
    assert list(parse_components("3")) == [3]
    assert list(parse_components("2:4")) == [2, 3, 4]


def test_interrupts_show_no_traceback(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxem.cli._fit.run_fit", interrupted)
    code, out, err = run("fit")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_defects_are_not_hidden(run, monkeypatch):
    def defective(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("jaxem.cli._fit.run_fit", defective)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run("fit")


def test_warnings_take_one_line(run, monkeypatch):
    def warn(*_):
        warnings.warn("look\nhere", UserWarning, stacklevel=1)

    monkeypatch.setattr("jaxem.cli._fit.run_fit", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("fit") == (0, "", "jaxem: warning: look here\n")


def test_progress_is_silent_away_from_a_terminal(capsys):
    with _progress.progress_bar(quiet=False) as track:
        assert track("k = 1") is None
    assert capsys.readouterr().err == ""


def test_progress_counts_starts(capsys):
    import io

    from rich.console import Console

    from jaxem.record import Progress

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with _progress.progress_bar(quiet=False, stderr=console) as track:
        update = track("k = 3")
        assert update is not None
        update(Progress(2, 16, 4, 3, 40, -12.5))
    shown = screen.getvalue()
    assert "k = 3" in shown
    assert "2/16" in shown
    assert "best -12.5" in shown
