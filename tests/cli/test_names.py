"""Names of columns and files are text of strangers: they reach no terminal raw, and no markup or mathematics."""

import csv
import io
import itertools
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxem import cli, plot
from jaxem._text import plain, quoted
from jaxem.cli import load_fit
from jaxem.plot._style import label

NAMES = [
    "$x_$",
    "\x1b[31mred\x1b]0;title\x07",
    "[bold]b[/] :heart: \\",
    "two\nlines\r\t",
    "\u202ereversed\u2066",
    "%{_^}\\frac$",
    "long " * 100,
    "\u4e2d\u6587 na\u00efve \U0001f600",
]


def shown(text):
    """Whether text is safe for a terminal: printable characters and line ends."""
    return all(c.isprintable() or c == "\n" for c in text)


@given(st.text())
def test_plain_text_is_one_printable_line(text):
    assert plain(text).isprintable()
    assert len(plain(text, 10)) <= 10
    assert plain(plain(text)) == plain(text)
    if text.isprintable():
        assert plain(text) == text


def test_plain_text_spells_out_what_cannot_be_seen():
    assert plain("a\x1b[0m\n\u202e\u200b\ud800\x9b") == "a\\x1b[0m\\n\\u202e\\u200b\\ud800\\x9b"
    assert quoted("x" * 100) == "'" + "x" * 59 + "\u2026'"


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A folder with a table of strange names, its fit, and what was printed."""
    folder = tmp_path_factory.mktemp("names")
    file = folder / "t\x1b[2J[red]$a_$.csv"
    rows = np.random.default_rng(0).normal(size=(40, len(NAMES))).round(3).tolist()
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([NAMES, *rows])
    printed, said = io.StringIO(), io.StringIO()
    options = ["--components", "1", "--restarts", "1", "--covariance", "diagonal", "--out", str(folder / "f\x1b[1m")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        patch.setattr("sys.stderr", said)
        code = cli.main(["fit", str(file), *options])
    assert code == 0, said.getvalue()
    return file, folder / "f\x1b[1m", printed.getvalue(), said.getvalue()


def test_a_fit_keeps_the_names_and_prints_them_plainly(strange):
    _, folder, printed, said = strange
    assert load_fit(folder).columns == tuple(name.strip() for name in NAMES)
    assert said == ""
    assert shown(printed)
    assert "[bold]b[/] :heart: \\" in printed
    assert "\\x1b[31mred" in printed
    assert (folder / "fit.png").read_bytes().startswith(b"\x89PNG")


def test_other_commands_print_them_plainly(strange, run):
    file, folder, _, _ = strange
    code, out, err = run("sample", folder, "-n", 3)
    assert (code, err) == (0, "")
    assert shown(out)
    (folder.parent / "drawn.csv").write_text(out)
    code, out, err = run("predict", folder, folder.parent / "drawn.csv")
    assert code == 0
    assert shown(out + err)
    code, out, err = run("fit", file, "--columns", "nothing")
    assert code == 2
    assert shown(out + err)
    assert err.count("\n") == 1
    code, out, err = run("fit", "no\x1b[31m\nsuch.csv")
    assert (code, out) == (2, "")
    assert err == "jaxem: error: no\\x1b[31m such.csv: no such file\n"


def pictures():
    rng = np.random.default_rng(0)
    values, shares = rng.uniform(size=(2, len(NAMES))), np.array([0.4, 0.6])
    x, labels = rng.normal(size=(30, len(NAMES))), np.arange(30) % 2
    parts = plot.Gaussians(shares, np.zeros((2, len(NAMES))), np.stack([np.eye(len(NAMES))] * 2))
    chance = np.full((30, 2), 0.5)
    yield lambda fig: plot.profiles(fig.subplots(), values, shares, columns=NAMES, name=NAMES[0])
    yield lambda fig: plot.loadings(fig, values.T, values[0], columns=NAMES)
    yield lambda fig: plot.sequence(fig, x, labels, chance, np.zeros((2, len(NAMES))), columns=NAMES)
    yield lambda fig: plot.pairs(fig, x, parts, labels=labels, columns=NAMES)
    for i, name in enumerate(NAMES):
        yield lambda fig, i=i, name=name: plot.histogram(fig.subplots(), x[:, i], parts.select([i]), column=name)
        yield lambda fig, name=name: plot.counts(fig.subplots(), np.arange(5), shares, shares, column=name)
        pair = parts.select([0, 1])
        yield lambda fig, name=name, pair=pair: plot.scatter(fig.subplots(), x[:, :2], pair, columns=(name, name))


@pytest.mark.parametrize("draw", list(pictures()), ids=itertools.count())
def test_pictures_show_names_as_they_are(draw):
    fig = Figure(figsize=(9, 9), layout="constrained")
    draw(fig)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        FigureCanvasAgg(fig).draw()


@settings(max_examples=100)
@given(st.text(alphabet="$\\_{}^%x\n\x1b ", max_size=12))
def test_no_name_is_mathematics(name):
    from matplotlib.text import Text

    text = Text(0, 0, label(name))
    shown, mathematics = text._preprocess_math(text.get_text())
    assert not mathematics
    assert shown == plain(name, 32)


def test_a_picture_that_fails_costs_the_picture(run, monkeypatch, tmp_path):
    def broken(*_):
        raise ValueError("no\x1b\npicture")

    monkeypatch.setattr("jaxem.cli._painter.draw", broken)
    (tmp_path / "jaxem-fit").mkdir()
    (tmp_path / "jaxem-fit" / "fit.png").write_text("of the fit before")
    code, out, err = run("fit", "--components", 1, "--restarts", 1)
    assert code == 0
    assert err == "jaxem: warning: fit.png could not be drawn and is left out: ValueError: no\\x1b picture\n"
    assert "Wrote fit.json and assignments.csv to jaxem-fit/" in out
    assert sorted(path.name for path in (tmp_path / "jaxem-fit").iterdir()) == ["assignments.csv", "fit.json"]
    assert json.loads((tmp_path / "jaxem-fit" / "fit.json").read_text())["status"] == "converged"
