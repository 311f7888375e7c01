"""What is kept of the iterates, and what is told of a run."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, final

import equinox as eqx
from jaxtyping import Array, PyTree


class Report(NamedTuple):
    """Parameters to return (`None` for the last ones), their Monte Carlo standard errors, and draws of them."""

    params: Any = None
    standard_error: Any = None
    draws: Any = None


class AbstractRecord(eqx.Module):
    """What is kept of the iterates. Parameters come in the coordinates of the user."""

    def init(self, params: PyTree, dtype: Any) -> PyTree:
        """Nothing kept yet; `params` has the shapes."""
        return ()

    def add(self, state: PyTree, params: PyTree, num_steps: Array, max_steps: Array) -> PyTree:
        """State with the parameters after `num_steps` iterations taken in."""
        return state

    @abstractmethod
    def report(self, state: PyTree) -> Report:
        """What the result says."""


@final
class Restarts(eqx.Module):
    """What became of every start, failed ones included: arrays of length `restarts`."""

    objective: Array
    status: Any
    num_steps: Array


class Progress(NamedTuple):
    """What `fit(progress=...)` is told after each round; the fit ends early if it answers `True`.

    Starts finished and in all, lanes running, rounds and iterations so far (over all lanes), the best objective of a
    finished start (minus infinity before there is one), the best of any start, and what asks for the parameters that
    have it: `progress.params()`, which costs an E-step and is `None` where several fits run together.
    """

    done: int
    total: int
    running: int
    rounds: int
    steps: int
    best: float
    leading: float = -math.inf
    params: Callable[[], Any] = lambda: None


class StreamProgress(NamedTuple):
    """What `fit_stream(progress=...)` is told after each batch.

    The pass, batches and rows so far (over all passes), and the objective: of a stepwise run the batch's estimate of
    that of the whole, of an exact run the best of all starts that ran in the last pass, and NaN before there is one.
    """

    pass_number: int
    batches: int
    rows: int
    objective: float
