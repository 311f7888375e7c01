"""What ends a command: one line where the person at the terminal can help, the error itself where not."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from jaxem import cli
from jaxem.cli import _app, _version
from jaxem.cli._errors import CommandError, reported


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of memory")])
def test_a_lack_of_memory_says_what_to_use_less_of(error):
    with pytest.raises(CommandError, match="use fewer rows, starts or components"), reported():
        raise error


def test_other_errors_of_the_runtime_are_defects():
    with pytest.raises(RuntimeError, match=r"^INTERNAL$"), reported():
        raise RuntimeError("INTERNAL")


def test_without_its_packages_the_command_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jaxem.cli._app", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["models"])

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "jaxem.cli._app":
                raise ModuleNotFoundError("No module named 'typer'", name="typer")

    monkeypatch.delitem(sys.modules, "jaxem.cli._app")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert cli.main(["models"]) == 2
    assert "pip install 'jaxem[cli]'" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error(monkeypatch):
    moved = []
    monkeypatch.setattr(_app.os, "dup2", lambda source, target: moved.append(target))
    monkeypatch.setattr(_app.sys, "stdout", open(_app.os.devnull, "w"))  # noqa: SIM115
    assert _app._end(BrokenPipeError()) == 0
    assert moved == [_app.sys.stdout.fileno()]
    _app.sys.stdout.close()


def test_every_kind_is_listed(run):
    code, out, err = run("models")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "missing cells allowed" in lines["hmm"]
    assert "missing" not in lines["student-t-mixture"]
    assert lines["ppca"].endswith("--components counts factors, missing cells allowed")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def lacking(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_version, "installed", lacking)
    assert _version.version() == "unknown"


def test_unknown_names_of_the_package_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cli.nothing
