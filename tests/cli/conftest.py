import jax
import pytest

from jaxem import cli


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs the command line in this process, in an empty folder; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        x64 = jax.config.jax_enable_x64
        code = cli.main([str(argument) for argument in arguments])
        assert jax.config.jax_enable_x64 == x64
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def refused(run, tmp_path):
    """Runs what must be refused: exit code 2, one line on standard error, nothing left behind; returns that line."""

    def call(*arguments):
        before = sorted(path.name for path in tmp_path.rglob("*"))
        code, out, err = run(*arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("jaxem: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
        return err

    return call


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """The folder of a fit to Old Faithful with a choice of one or two components."""
    folder = tmp_path_factory.mktemp("fitted") / "geyser"
    arguments = ["fit", "--components", "1:2", "--restarts", "4", "--quiet", "--out", str(folder)]
    assert cli.main(arguments) == 0
    return folder
