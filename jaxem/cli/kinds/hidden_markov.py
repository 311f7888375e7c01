"""Hidden Markov models: the rows of the table are the steps of one sequence."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxem.cli._view import View
from jaxem.cli.kinds import _panels as panels
from jaxem.cli.kinds._kind import (
    Assignment,
    Kind,
    declare,
    describe_field,
    describe_gaussians,
    incomplete,
    of_covariance,
    of_family,
    with_covariances,
)


def _one_sequence(x: np.ndarray) -> Any:
    import jaxem

    return jaxem.Sequences(x[None])


def _partly_seen(x: np.ndarray) -> dict[str, Any]:
    """A step without any cell is no matter of the emission: the chain passes it by."""
    return incomplete(x[~np.isnan(x).all(1)])


def _by_state(model: Any, params: Any, x: np.ndarray) -> Assignment:
    """The most probable path, and the probability of each state at each step."""
    data = _one_sequence(x)
    values, path = np.asarray(model.posterior(params, data))[0], np.asarray(model.predict(params, data))[0]
    return Assignment(values, [f"probability_{j}" for j in range(values.shape[1])], path, values.mean(0))


def _drawn_sequence(model: Any, params: Any, key: Any, n: int) -> tuple[Any, Any]:
    rows, states = model.sample(key, params, 1, n)
    return rows[0], states[0]


def _with_transitions(describe: Callable[[View], tuple[str, dict[str, list[str]]]]) -> Callable[[View], Any]:
    def described(view: View) -> tuple[str, dict[str, list[str]]]:
        heading, rows = describe(view)
        stay = np.diagonal(np.asarray(view.params.transition, float))
        lasts = [f"{j} (stays {p:.3f})" for j, p in enumerate(stay)]
        return heading, dict(zip(lasts, rows.values(), strict=True))

    return described


def _kind(title: str, build: Any, emission: Callable[[dict[str, Any]], Any], describe: Any, **others: Any) -> Kind:
    def layout(options: dict[str, Any]) -> Any:
        own = emission(options)
        return declare("models.HMMParams", initial="simplex k", transition="simplex k k", emission=own)

    return Kind(
        title,
        build,
        layout,
        _with_transitions(describe),
        panels.sequence,
        missing=_partly_seen,
        unit="state",
        data=_one_sequence,
        assign=_by_state,
        sample=_drawn_sequence,
        **others,
    )


HIDDEN_MARKOV = {
    "hmm": _kind(
        "Gaussian hidden Markov model",
        of_family("HMM", "Gaussian", "Incomplete"),
        lambda options: with_covariances("GaussianParams", options),
        describe_gaussians,
        options=of_covariance,
        continuous=True,
    ),
    "poisson-hmm": _kind(
        "Poisson hidden Markov model",
        of_family("HMM", "Poisson", "IncompleteColumns"),
        lambda options: declare("families.PoissonParams", rate="nonnegative k d"),
        describe_field("rate", "rate", "{:.4g}"),
    ),
}
