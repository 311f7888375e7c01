import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxem as package
from jaxem.cli._errors import CommandError
from jaxem.cli._output import recover, staged_file, staged_folder

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_after_writing(path):
    path.write_text("new")
    raise ZeroDivisionError


def test_a_new_folder_appears_whole_with_its_parents(tmp_path):
    target = tmp_path / "a" / "b"
    with staged_folder(target) as stage:
        (stage / "x").write_text("1")
        assert not target.exists()
    assert names(target) == ["x"]
    assert names(tmp_path) == ["a"]


def test_files_of_a_folder_are_replaced_and_others_left(tmp_path):
    (tmp_path / "x").write_text("old")
    (tmp_path / "y").write_text("mine")
    with staged_folder(tmp_path) as stage:
        (stage / "x").write_text("new")
        assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x", "y"]
    assert (tmp_path / "x").read_text() == "new"
    assert (tmp_path / "y").read_text() == "mine"


@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_leaves_everything_as_it_was(tmp_path, exists):
    target = tmp_path / "out"
    if exists:
        target.mkdir()
        (target / "x").write_text("old")
    with pytest.raises(ZeroDivisionError), staged_folder(target) as stage:
        fail_after_writing(stage / "x")
    assert names(tmp_path) == (["out"] if exists else [])
    if exists:
        assert names(target) == ["x"]
        assert (target / "x").read_text() == "old"


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path):
    target = tmp_path / "x.csv"
    with staged_file(target) as stage:
        stage.write_text("1")
        assert not target.exists()
    assert target.read_text() == "1"
    with pytest.raises(ZeroDivisionError), staged_file(target) as stage:
        fail_after_writing(stage)
    assert target.read_text() == "1"
    assert names(tmp_path) == ["x.csv"]


def test_a_file_in_the_way_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(CommandError, match="not a folder"), staged_folder(target):
            pytest.fail("the block ran")
    assert names(tmp_path) == ["file"]


def test_a_system_that_refuses_is_reported(tmp_path):
    with pytest.raises(CommandError, match="cannot be written"), staged_folder(tmp_path / ("n" * 300)):
        pytest.fail("the block ran")
    assert names(tmp_path) == []


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else None


def write(target, files):
    with staged_folder(target) as stage:
        for name, text in files.items():
            (stage / name).write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    """What a fit before left there and the new one does not write is gone."""
    target = tmp_path / "out"
    write(target, {"fit.json": "1", "assignments.csv": "1", "fit.png": "1"})
    write(target, {"fit.json": "2", "assignments.csv": "2"})
    assert contents(target) == {"fit.json": "2", "assignments.csv": "2"}
    assert names(tmp_path) == ["out"]


def test_files_of_others_stay_and_nothing_of_the_fit_before(tmp_path):
    target = tmp_path / "out"
    write(target, {"fit.json": "1", "fit.png": "1"})
    (target / "notes.txt").write_text("mine")
    (target / "folder").mkdir()
    write(target, {"fit.json": "2"})
    assert (target / "folder").is_dir()
    (target / "folder").rmdir()
    assert contents(target) == {"fit.json": "2", "notes.txt": "mine"}
    assert names(tmp_path) == ["out"]


def test_the_current_folder_stays_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    for text in "12":
        write(Path(), {"fit.json": text})
        assert contents(tmp_path) == {"fit.json": text}
    assert tmp_path.stat().st_ino == before


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far" / "real").mkdir(parents=True)
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "far" / "real")
    write(link, {"fit.json": "1"})
    assert link.is_symlink()
    assert contents(tmp_path / "far" / "real") == {"fit.json": "1"}
    (tmp_path / "file").write_text("old")
    (tmp_path / "to_file").symlink_to(tmp_path / "file")
    with staged_file(tmp_path / "to_file") as stage:
        stage.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["far", "file", "out", "to_file"]
    assert names(tmp_path / "far") == ["real"]


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_runs_at_once_the_last_wins_as_a_whole(tmp_path, exists):
    target = tmp_path / "out"
    if exists:
        write(target, {"fit.json": "old", "fit.png": "old"})
    with staged_folder(target) as first:
        (first / "fit.json").write_text("first")
        (first / "fit.png").write_text("first")
        with staged_folder(target) as second:
            assert first.is_dir()
            (second / "fit.json").write_text("second")
        assert contents(target) == {"fit.json": "second"}
        assert (first / "fit.png").read_text() == "first"
    assert contents(target) == {"fit.json": "first", "fit.png": "first"}
    assert names(tmp_path) == ["out"]


def test_a_rename_that_fails_leaves_the_folder_before(tmp_path, monkeypatch):
    target = tmp_path / "out"
    write(target, {"fit.json": "old"})
    rename = Path.rename

    def failing(self, where):
        if "new" in self.name:
            raise PermissionError("no")
        return rename(self, where)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(CommandError, match="cannot be written"):
        write(target, {"fit.json": "new"})
    assert contents(target) == {"fit.json": "old"}
    assert names(tmp_path) == ["out"]


# Runs once for every step that it takes with the system, and kills itself before that step.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from jaxem.cli._output import recover, staged_file, staged_folder

def run(target, die):
    done = 0
    def watch(event, arguments):
        nonlocal done
        if event.startswith(("os.", "shutil.", "tempfile.")) or event == "open":
            done += 1
            if done == die:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    if target.name == "x.csv":
        with staged_file(target) as stage:
            stage.write_text("new")
    else:
        with staged_folder(target) as stage:
            for name in ("assignments.csv", "fit.json"):
                (stage / name).write_text("new")

def contents(target):
    if target.is_file():
        return target.read_text()
    return {path.name: path.read_text() for path in target.iterdir() if path.is_file()} if target.is_dir() else None

case, home = sys.argv[1], Path(sys.argv[2])
found = []
for die in range(1, 1000):
    folder = home / str(die)
    folder.mkdir()
    target = folder / ("x.csv" if case == "file" else "out")
    if case in ("old", "others"):
        target.mkdir()
        for name in ("assignments.csv", "fit.json", "fit.png"):
            (target / name).write_text("old")
    if case == "others":
        (target / "notes.txt").write_text("mine")
    if case == "file":
        target.write_text("old")
    child = os.fork()
    if child == 0:
        try:
            run(target, die)
        finally:
            os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    between = contents(target)
    recover(target)
    after = contents(target)
    if case == "file":
        with staged_file(target) as stage:
            stage.write_text("next")
    else:
        with staged_folder(target) as stage:
            (stage / "fit.json").write_text("next")
    found.append([between, after, contents(target), sorted(os.listdir(folder)), sorted(os.listdir(target.parent))])
    if not killed:
        break
print(json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills itself as POSIX does")
@pytest.mark.parametrize("case", ["none", "old", "others", "file"])
def test_a_run_that_is_killed_at_any_step_leaves_the_old_or_the_new(tmp_path, case):
    command = [sys.executable, "-c", KILLED, case, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    mine = {"notes.txt": "mine"} if case == "others" else {}
    files = ("assignments.csv", "fit.json", "fit.png")
    old = {"none": None, "file": "old"}.get(case, dict.fromkeys(files, "old") | mine)
    new = "new" if case == "file" else dict.fromkeys(files[:2], "new") | mine
    for between, after, later, beside, _ in found:
        # The name of the folder is free between two renames, and files that lie among others move one by one.
        assert case == "others" or between in (old, new, None)
        assert after in (old, new)
        assert later == ("next" if case == "file" else {"fit.json": "next"} | mine)
        assert beside == (["x.csv"] if case == "file" else ["out"])
    assert found[0][1] == old
    assert found[-1][1] == new
    assert len(found) > 10


def test_nothing_is_recovered_where_nothing_was_left(tmp_path):
    recover(tmp_path / "out")
    recover(tmp_path / "no" / "such")
    assert names(tmp_path) == []
