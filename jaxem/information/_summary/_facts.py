"""What a summary says of the fit as a whole."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from jaxem._status import Status, status_name
from jaxem.engine.convert import as_weights
from jaxem.engine.door import count_rows
from jaxem.latent import MeanField
from jaxem.models import Documents
from jaxem.selection.criteria import entropy_if_discrete, from_numbers, num_observations


class Facts(NamedTuple):
    """The facts by name, and what an entry of the data is called."""

    values: dict[str, Any]
    unit: str


def facts_of(model: Any, fit: Any, data: PyTree, weights: Any) -> Facts:
    """Size of the data, how the fit ended, and its criteria."""
    n, given = count_rows(data), weights
    total = None if given is None else float(np.sum(as_weights(given, n, None)))
    observations = float(num_observations(model, data, weights))
    log_likelihood, size = float(fit.log_likelihood), int(model.num_parameters(fit.params))
    entropy = entropy_if_discrete(model, fit.params, data, weights)
    starts = 1 if fit.restarts is None else int(np.size(fit.restarts.objective))
    values = {
        "num_rows": n,
        "num_observations": observations,
        "total_weight": total,
        "status": status_name(fit.status),
        "message": Status[fit.status],
        "num_steps": int(fit.num_steps),
        "num_starts": starts,
        "log_likelihood": log_likelihood,
        "is_bound": isinstance(model.latent, MeanField),
        "objective": float(fit.objective),
        "num_parameters": size,
        **from_numbers(log_likelihood, size, observations, entropy),
    }
    unit = "document" if isinstance(data, Documents) else "sequence" if model.lengthen is not None else "row"
    return Facts(values, unit)
