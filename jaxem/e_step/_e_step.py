from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound, collect


class AbstractEStep(eqx.Module):
    """How moments are taken from the posterior of the latents.

    A rule is arithmetic on natural parameters and on the potentials they give (`posterior`, once a chunk of rows).
    `monotone` says whether the value it reports never falls under exact updates (it does not, by default), and `needs`
    what a rule asks of the latent: `"expectation"`, `"mode"` or `"sample"`.
    """

    monotone: ClassVar[bool] = True
    stops: ClassVar[bool] = False  # knows itself when to stop
    needs: ClassVar[str] = "expectation"  # of the latent: `expectation`, `mode` or `sample`
    integrates: ClassVar[bool] = False  # asks the model for nothing but exact expectations; see `integrated`
    extrapolates: ClassVar[bool] = False  # takes other statistics than EM's, and back if the objective falls

    def init(self, model: AbstractBound, params: PyTree) -> PyTree:
        """State carried between iterations."""
        return ()

    def extras(self, model: AbstractBound, params: PyTree, state: PyTree) -> PyTree:
        """What `posterior` needs beside the potentials at `params`; once an iteration."""
        return ()

    @abstractmethod
    def posterior(
        self, model: AbstractBound, potentials: PyTree, extras: PyTree, data: PyTree, key: PRNGKeyArray
    ) -> tuple[PyTree, Array]:
        """Moments of a block of observations with these potentials, and what each contributes to the objective."""

    def collect(
        self, model: AbstractBound, natural: PyTree, extras: PyTree, data: PyTree, weights: Array, key: PRNGKeyArray
    ) -> tuple[PyTree, Array]:
        """Statistics of a block of observations, summed by weight, and what each contributes to the objective."""
        return collect(
            model, natural, data, weights, lambda potentials: self.posterior(model, potentials, extras, data, key)
        )

    def review(
        self,
        sweep: Callable,
        model: AbstractBound,
        params: PyTree,
        proposed: PyTree,
        state: PyTree,
        key: PRNGKeyArray,
    ) -> tuple[PyTree, PyTree]:
        """Parameters to evaluate next, and the state to do it with; both may depend on what the M-step proposed.

        `sweep(fn)` sums `fn(chunk, weights, key)` over the rows, with the keys that `posterior` was called with.
        """
        return proposed, state

    def plain(self, state: PyTree) -> Any:
        """True if statistics taken with `state` are those of EM, so that the objective cannot fall."""
        return True

    def reset(self, model: AbstractBound, params: PyTree, state: PyTree) -> PyTree:
        """The state to go on with at `params` after the objective fell."""
        return state

    def comparable(self, state: PyTree) -> Any:
        """True if the objective may be compared with the last one for which this was true."""
        return True

    def converged(self, state: PyTree, tol: Array, total_weight: Array) -> Any:
        """Whether to stop, where the rule itself knows; `None` leaves it to the termination."""
        return None
