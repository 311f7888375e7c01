"""The command as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jaxem as package

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
