from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._model import AbstractModel


class AbstractEStep(eqx.Module):
    """How moments are taken from the posterior of the latents.

    A rule is arithmetic on natural parameters and on the potentials they give (`posterior`, once a chunk of rows).
    `monotone` says whether the value it reports never falls under exact updates.
    """

    monotone: ClassVar[bool] = True

    def init(self, model: AbstractModel, params: PyTree) -> PyTree:
        """State carried between iterations."""
        return ()

    def naturals(self, model: AbstractModel, params: PyTree, state: PyTree) -> PyTree:
        """What `posterior` needs beside the potentials at `params`; once an iteration."""
        return ()

    @abstractmethod
    def posterior(
        self, model: AbstractModel, potentials: PyTree, naturals: PyTree, data: PyTree, key: PRNGKeyArray
    ) -> tuple[PyTree, Array]:
        """Moments of a block of observations with these potentials, and what each contributes to the objective."""

    def update(self, model: AbstractModel, params: PyTree, state: PyTree) -> PyTree:
        """State for the next iteration."""
        return state
