"""A live line on the terminal while starts run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxem.cli._signals import cleaned


@contextmanager
def progress_bar(
    quiet: bool, stderr: Console | None = None, unit: str = "starts"
) -> Iterator[Callable[[str], Callable[[Any], None] | None]]:
    """Yields `track(label)`, which makes the `progress` argument of one `jaxem.fit`, or of what consists of fits.

    `unit` is what is counted. Shown on standard error and gone when done; silent if `quiet` or not on a terminal.
    """
    console = stderr or Console(file=sys.stderr)
    if quiet or not console.is_terminal:
        yield lambda label: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit + "  {task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    # A process that a signal ends leaves the terminal as it was.
    with cleaned(lambda: console.show_cursor(True)), bar:

        def track(label: str) -> Callable[[Any], None]:
            task = bar.add_task(label, total=None, state="compiling")

            def update(progress: Any) -> None:
                where = f"round {progress.rounds}, step {progress.steps}, {progress.running} running"
                state = f"{where}, best {progress.best:.6g}" if progress.done else where
                bar.update(task, completed=progress.done, total=progress.total, state=state)

            return update

        yield track
