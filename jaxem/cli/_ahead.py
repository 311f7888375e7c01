"""What a command will need, imported while it does something else."""

import contextlib
import importlib
import threading


def begin_importing(*names: str) -> None:
    """Import modules in another thread, one after the other.

    Reading their files takes as long as running them, and does not keep the interpreter.
    """

    def work() -> None:
        # Who uses them imports them again, and hears of what goes wrong.
        with contextlib.suppress(Exception):
            for name in names:
                importlib.import_module(name)

    threading.Thread(target=work, daemon=True).start()
