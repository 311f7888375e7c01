from contextlib import AbstractContextManager
from typing import Any

import jax


def precision_of(dtype: Any) -> AbstractContextManager:
    """Inside, JAX computes in `dtype` (float64 or float32); outside nothing changes, nor in other threads."""
    context: Any = getattr(jax, "enable_x64", None)
    if context is None:  # before JAX 0.8
        from jax.experimental import enable_x64 as context  # pyright: ignore
    return context(dtype == "float64")
