from abc import abstractmethod
from typing import Any, NamedTuple

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
