"""How much is compiled."""

from collections.abc import Callable
from typing import Any

import jax


def compilations(run: Callable[[], Any]) -> tuple[Any, int]:
    """What `run` returns, and how many programs JAX compiles for it."""
    heard = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        return run(), len(heard)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
