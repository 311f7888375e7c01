import pytest

from jaxem.cli._errors import CommandError
from jaxem.cli._output import staged_file, staged_folder


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
