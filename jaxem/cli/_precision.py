"""The command line is a process of its own, so it may choose the precision that a library must leave alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Compute in `dtype` (`"float64"` or `"float32"`) inside, and keep the compiler's chatter to errors."""
    import jax

    logging.getLogger("jax").setLevel(logging.ERROR)
    context: Any = getattr(jax, "enable_x64", None)
    if context is None:  # before JAX 0.8
        from jax.experimental import enable_x64 as context  # pyright: ignore
    with context(dtype == "float64"):
        yield
