"""The command line is a process of its own, so it may choose the precision that a library must leave alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Compute in `dtype` (`"float64"` or `"float32"`) inside, and keep the compiler's chatter to errors.

    Programs are kept on disk for the next time.
    """
    from jaxem._precision import precision_of
    from jaxem.engine.cache import use_by_default

    use_by_default()

    logging.getLogger("jax").setLevel(logging.ERROR)
    with precision_of(dtype):
        yield
