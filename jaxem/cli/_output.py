"""Outputs that appear whole or not at all, whatever becomes of the process that writes them.

Everything is written to a hidden folder beside the output, its stage, which then takes the place of the output. A run
holds a lock on its stage, which the system takes from it when it ends; so the next run on that output knows the stages
of runs that were killed, and removes them. What happens between two renames happens under a lock on the folder above.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jaxem.cli._errors import CommandError, one_line
from jaxem.cli._signals import cleaned, uninterrupted

try:
    import fcntl
except ImportError:  # Windows: two runs on one output may disturb each other, and stages of killed runs stay
    fcntl = None

FILES = ("fit.json", "assignments.csv", "fit.png")
_COMMIT, _GONE = ".jaxem-commit", ".gone-"


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A folder to write in the place of `target`, as a whole when the block ends well; it vanishes when it does not.

    Entered before the work starts, so that a folder that cannot be written is refused at once. A folder with files
    that no run wrote keeps these, and so does the current folder: of them, only the files of a fit are replaced.
    """
    with _refusal(target):
        if target.exists() and not target.is_dir():
            raise CommandError(f"--out {target}: exists and is not a folder")
    with _stage(target) as stage, _refusal(target):
        yield stage
        with uninterrupted():
            # A link stays a link: what it points to is replaced.
            real = target.resolve()
            real.parent.mkdir(parents=True, exist_ok=True)
            with _locked(real.parent):
                _recover(real)
                if real.is_dir() and _shared(real, stage):
                    _commit(stage, real)
                else:
                    _swap(stage, real)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A file to write in the place of `target`; it takes its name when the block ends well."""
    with _refusal(target):
        if target.is_dir():
            raise CommandError(f"--out {target}: is a folder")
    with _stage(target) as stage, _refusal(target):
        yield stage / target.name
        with uninterrupted():
            real = target.resolve()
            real.parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / target.name, real)


def recover(target: Path) -> None:
    """Finish what a run that was killed while it replaced `target` had begun; nothing if there is nothing."""
    real = target.resolve()
    if (real / _COMMIT).is_dir() or _old(real).is_dir():
        with contextlib.suppress(OSError), _locked(real.parent):
            _recover(real)


def _swap(stage: Path, target: Path) -> None:
    """Put `stage` in the place of `target`, a folder or nothing."""
    old = _old(target)
    if target.is_dir():
        target.rename(old)
    try:
        stage.rename(target)
    except BaseException:
        if old.is_dir() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _commit(stage: Path, target: Path) -> None:
    """Put the files of `stage` into `target`. Once the stage has its new name, they all will be there."""
    for name in FILES:
        if (target / name).exists() and not (stage / name).exists():
            (stage / (_GONE + name)).touch()
    stage.rename(target / _COMMIT)
    _finish(target)


def _finish(target: Path) -> None:
    """Move the files of a commit to their places in `target`, and remove those that the fit before left there."""
    commit = target / _COMMIT
    for file in sorted(commit.iterdir()):
        if file.name.startswith(_GONE):
            (target / file.name.removeprefix(_GONE)).unlink(missing_ok=True)
            file.unlink()
        else:
            os.replace(file, target / file.name)
    shutil.rmtree(commit, ignore_errors=True)


def _recover(target: Path) -> None:
    old = _old(target)
    if old.is_dir():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    if (target / _COMMIT).is_dir():
        _finish(target)


def _old(target: Path) -> Path:
    """Where the folder that is replaced lies until it is removed."""
    return target.parent / f"{_prefix(target)}old"


def _shared(target: Path, stage: Path) -> bool:
    """Whether `target` cannot be replaced as a whole: it holds what no run wrote, or is where someone works."""
    ours = {*FILES, *os.listdir(stage)}
    others = any(name not in ours and not name.startswith(".jaxem-") for name in os.listdir(target))
    here = Path.cwd().resolve()
    return others or target == here or target in here.parents or os.path.ismount(target) or stage.parent == target


@contextmanager
def _stage(target: Path) -> Iterator[Path]:
    """A new folder on the file system of `target`: beside it, or in its nearest parent that exists; within `target`
    if nothing can be written beside it."""
    with _refusal(target):
        real = target.resolve()
        home = real.parent
        while not home.exists():
            home = home.parent
        if not home.is_dir():
            raise CommandError(f"--out {target}: {home} is not a folder")
        if real.is_dir() and (os.path.ismount(real) or not os.access(home, os.W_OK)):
            home = real
    with ExitStack() as open_stage:
        with _refusal(target), uninterrupted(), _locked(home):
            _recover(real)
            for left in home.glob(f"{_prefix(real)}*"):
                _remove(left)
            stage = Path(tempfile.mkdtemp(prefix=f"{_prefix(real)}new-", dir=home))
            lock = _lock(stage, wait=False)
            if lock is not None:
                open_stage.callback(os.close, lock)
            open_stage.enter_context(cleaned(lambda: shutil.rmtree(stage, ignore_errors=True)))
            # `mkdtemp` keeps others out; the finished folder has the permissions that any new folder would have.
            mask = os.umask(0)
            os.umask(mask)
            stage.chmod(0o777 & ~mask)
        yield stage


def _prefix(target: Path) -> str:
    """What the names of the stages of `target` begin with; short, whatever its own name."""
    return f".jaxem-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _remove(stage: Path) -> None:
    """Remove the stage of a run that has ended without doing so."""
    lock = _lock(stage, wait=False)
    if lock is not None:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path, wait: bool) -> int | None:
    """An open lock on `folder`; `None` if another has it, or the system has no such locks."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the runs that write below `folder`, while the block lasts."""
    lock = _lock(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def _refusal(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"--out {target}: cannot be written: {error.strerror or one_line(error)}") from error
