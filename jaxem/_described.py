"""A fit in a line or two, whatever its leaves are: numbers, batches of numbers, tracers, shapes."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxem._status import NAMES, Status, status_code

_CONVERGED = int(status_code(Status.converged))


def describe(fit: Any) -> str:
    """What `repr(fit)` says of a `Fit`; it never fails."""
    code = _numbers(_code(fit.status))
    if code is not None and code.ndim:
        return _batch(code, _numbers(fit.num_steps), _numbers(fit.objective))
    said = [
        f"status={_leaf(fit.status) if code is None else _name(int(code))}",
        f"num_steps={_number(fit.num_steps, 'd')}",
        f"objective={_number(fit.objective, '.10g')}",
        f"log_likelihood={_number(fit.log_likelihood, '.10g')}",
    ]
    starts = np.shape(getattr(fit.restarts, "objective", ()))
    if len(starts) == 1 and starts[0] > 1:
        said.append(f"restarts={starts[0]}")
    return f"Fit({', '.join(said)})"


def _batch(code: np.ndarray, steps: np.ndarray | None, objective: np.ndarray | None) -> str:
    """How many fits ended how, the range of their steps, and the best objective and where it is."""
    kinds, counts = np.unique(code, return_counts=True)
    order = np.argsort(kinds != _CONVERGED, kind="stable")
    ends = ", ".join(f"{counts[i]} {_name(int(kinds[i]))}" for i in order)
    shape = " x ".join(map(str, code.shape))
    more = []
    if steps is not None and steps.size:
        more.append(f"num_steps={steps.min()} to {steps.max()}")
    if objective is not None and objective.shape == code.shape and not np.isnan(objective).all():
        best = np.unravel_index(np.nanargmax(objective), code.shape)
        more.append(f"best objective={objective[best]:.10g} at [{', '.join(str(int(i)) for i in best)}]")
    return ",\n    ".join([f"Fit({shape} fits: {ends or 'none'}", *filter(None, [", ".join(more)])]) + ")"


def _code(status: Any) -> Any:
    leaves = jax.tree.leaves(status)
    return leaves[0] if len(leaves) == 1 else None


def _numbers(value: Any) -> np.ndarray | None:
    """The value on the host; `None` where there is none, as of a tracer or a shape."""
    if isinstance(value, Tracer | jax.ShapeDtypeStruct):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # deleted, or on devices of another process
        return None
    return array if array.dtype.kind in "fiu" else None


def _number(value: Any, style: str) -> str:
    number = _numbers(value)
    return _leaf(value) if number is None or number.ndim else format(number.item(), style)


def _name(code: int) -> str:
    return NAMES[code] if 0 <= code < len(NAMES) else f"unknown ({code})"


def _leaf(value: Any) -> str:
    """Kind and shape, where there are no numbers."""
    leaves = jax.tree.leaves(value)
    leaf = leaves[0] if len(leaves) == 1 else value
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    return "None" if leaf is None else type(leaf).__name__
