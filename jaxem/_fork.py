"""Whether this process was forked while JAX ran; imports nothing, so that it can listen from the first import on."""

import os
import sys

_FORKED: list[bool] = []


def _after_fork() -> None:
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and getattr(bridge, "_backends", True):
        _FORKED.append(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def require_no_fork() -> None:
    """Raise `RuntimeError` in a process that was forked while JAX ran: its first computation would never end."""
    if _FORKED:
        raise RuntimeError(
            "this process was forked from one in which JAX was already running, and JAX would wait here for ever for "
            "threads that are not there: start processes by multiprocessing.get_context('spawn'), or by joblib's "
            "'loky' backend"
        )
