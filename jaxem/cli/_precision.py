"""The command line is a process of its own, so it may choose the precision that a library must leave alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Compute in `dtype` (`"float64"` or `"float32"`) inside, and keep the compiler's chatter to errors."""
    import jax

    logging.getLogger("jax").setLevel(logging.ERROR)
    if hasattr(jax, "enable_x64"):
        context = jax.enable_x64
    else:
        from jax.experimental import enable_x64 as context
    with context(dtype == "float64"):
        yield
