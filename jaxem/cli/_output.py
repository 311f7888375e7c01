"""Outputs that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxem.cli._errors import CommandError, one_line


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` whose files move there when the block ends well, and vanish when it does not.

    Entered before the work starts, so that a folder that cannot be written is refused at once. Files that are
    already in `target` are replaced by those of the same name and otherwise left alone.
    """
    with _refusal(target):
        if target.exists() and not target.is_dir():
            raise CommandError(f"--out {target}: exists and is not a folder")
        stage = _make_stage(target)
    try:
        with _refusal(target):
            yield stage
            if target.is_dir():
                for file in sorted(stage.iterdir()):
                    os.replace(file, target / file.name)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                stage.rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A file to write in the place of `target`; it takes its name when the block ends well."""
    with _refusal(target):
        if target.is_dir():
            raise CommandError(f"--out {target}: is a folder")
        stage = _make_stage(target)
    try:
        with _refusal(target):
            yield stage / target.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / target.name, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _make_stage(target: Path) -> Path:
    """A new folder on the file system of `target`: in it if it is a folder, or in its nearest parent that exists."""
    home = target.absolute() if target.is_dir() else target.absolute().parent
    while not home.exists():
        home = home.parent
    if not home.is_dir():
        raise CommandError(f"--out {target}: {home} is not a folder")
    stage = Path(tempfile.mkdtemp(prefix=".jaxem-", dir=home))
    # `mkdtemp` keeps others out; the finished folder has the permissions that any new folder would have.
    mask = os.umask(0)
    os.umask(mask)
    stage.chmod(0o777 & ~mask)
    return stage


@contextmanager
def _refusal(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"--out {target}: cannot be written: {error.strerror or one_line(error)}") from error
