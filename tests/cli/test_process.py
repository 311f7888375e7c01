"""The command as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jaxem as package
from jaxem.cli._output import staged_folder

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}


def jaxem(*arguments, cwd):
    command = [sys.executable, "-m", "jaxem.cli", *arguments]
    options = {"capture_output": True, "text": True, "check": False, "env": ENVIRONMENT}
    return subprocess.run(command, cwd=cwd, **options)


def test_fit(tmp_path):
    done = jaxem("fit", "--components", "1", "--restarts", "4", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 of 4 starts" in done.stdout
    assert json.loads((tmp_path / "jaxem-fit" / "fit.json").read_text())["dtype"] == "float64"


COUNTED = """
import sys, jax
missed = []
jax.monitoring.register_event_listener(lambda event, **_: event.endswith("cache_misses") and missed.append(event))
from jaxem.cli import main
assert main(sys.argv[1:]) == 0
print(len(missed))
"""


@pytest.mark.slow
def test_another_process_compiles_nothing_for_another_number_of_rows(tmp_path):
    options, counts = ["--components", "1:2", "--restarts", "4", "--quiet"], []
    other = tmp_path / "other.csv"
    other.write_text("".join(f"{i % 17}.5,{i % 23}\n" for i in range(300)))
    for table in ([], [str(other)], [str(other)]):
        command = [sys.executable, "-c", COUNTED, "fit", *table, *options]
        environment = {**ENVIRONMENT, "JAXEM_CACHE": "on", "JAXEM_CACHE_DIR": str(tmp_path / "programs")}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        counts.append(int(done.stdout))
    assert counts[0] > 5
    assert counts[1:] == [0, 0]


def test_refusal(tmp_path):
    done = jaxem("fit", "nothing.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "jaxem: error: nothing.csv: no such file\n"
    assert done.stdout == ""


def test_help_does_not_load_the_drawing_or_the_tables(tmp_path):
    code = "import sys, jaxem.cli as c; c.main(['--help']); assert not {'matplotlib', 'polars'} & set(sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout


def test_neither_importing_nor_asking_for_help_imports_jax(tmp_path):
    code = "import sys, jaxem, jaxem.cli as c; c.main(['--help']); assert not {'jax', 'equinox'} & set(sys.modules)"
    code += "; from jaxem import em, e_step; assert 'jax' in sys.modules and {'fit', 'adjoint'} < set(dir(jaxem))"
    code += "; assert jaxem.em is em and jaxem.e_step is e_step and not hasattr(jaxem, 'nothing')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("name", "wait", "code", "words"),
    [
        ("SIGINT", 0, 130, "jaxem: error: interrupted\n"),
        ("SIGTERM", 6, 143, "jaxem: error: terminated\n"),
        ("SIGKILL", 0, -9, ""),
    ],
)
def test_a_signal_ends_a_fit_at_once_and_leaves_what_was_there(tmp_path, name, wait, code, words):
    out = tmp_path / "out"
    out.mkdir()
    (out / "fit.json").write_text("old")
    options = ["--components", "3:9", "--restarts", "2000", "--tol", "0", "--out", str(out)]
    command = [sys.executable, "-m", "jaxem.cli", "fit", *options]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        while len(list(tmp_path.iterdir())) == 1:
            assert run.poll() is None
            time.sleep(0.01)
        time.sleep(wait)  # into the imports, or the compiler
        assert run.poll() is None
        run.send_signal(getattr(signal, name))
        printed, error = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (run.returncode, printed, error) == (code, "", words)
    assert (out / "fit.json").read_text() == "old"
    if name == "SIGKILL":
        with staged_folder(out) as stage:
            (stage / "fit.json").write_text("new")
        assert (out / "fit.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
