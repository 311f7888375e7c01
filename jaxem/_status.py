from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Int


class Status(eqx.Enumeration):
    """How a fit ended.

    Values compare with `==` (elementwise for a batch of fits); `Status[status]` is the message and
    `jaxem.status_name(status)` the name.
    """

    running = "still running"
    converged = "converged"
    completed = "completed the requested number of steps"
    max_steps_reached = "reached max_steps before converging: raise max_steps or tol"
    objective_decreased = (
        "the objective decreased by more than rounding can explain; the last better parameters are returned"
    )
    not_finite = (
        "the objective or the parameters stopped being finite; the last finite parameters are returned "
        "(check the starting values, or add a prior)"
    )
    degenerate_component = (
        "a component is empty or its scale has shrunk to the floor: the likelihood there is spurious "
        "(use fewer components, a prior, more restarts, or another covariance structure)"
    )
    inaccurate = (
        "the statistics cannot be held accurately in this precision: use float64, or centre and scale the data "
        "(or, for a solve on kernel='fast', kernel='accurate')"
    )
    eliminated = "stopped by racing: other starts were ahead"
    stopped = "stopped before all starts had ended, as was asked for: the best so far is returned"


NAMES = [
    "running",
    "converged",
    "completed",
    "max_steps_reached",
    "objective_decreased",
    "not_finite",
    "degenerate_component",
    "inaccurate",
    "eliminated",
    "stopped",
]


def status_code(status: Any) -> Int[Array, "..."]:
    """The integer (array) behind a status."""
    return jax.tree.leaves(status)[0]


def status_from_code(code) -> Any:
    """The inverse of `status_code`."""
    return jax.tree.unflatten(jax.tree.structure(Status.running), [code])


def status_name(status) -> str | list[str]:
    """The name of a status, such as `"converged"`; a list of names for a batch.

    **Example**

    >>> import jaxem
    >>> jaxem.status_name(jaxem.Status.converged)
    'converged'
    """
    names = np.asarray(NAMES)[np.asarray(status_code(status))]
    return names.tolist()


def failed(status: Any) -> Bool[np.ndarray, "..."]:
    """Where a fit neither converged nor was to go on for so many steps: on the host."""
    return ~np.isin(
        np.asarray(status_code(status)), [int(status_code(s)) for s in (Status.converged, Status.completed)]
    )
