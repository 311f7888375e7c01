from abc import abstractmethod

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree


class AbstractLatent(eqx.Module):
    """The exponential family of the hidden variables, with the potentials as its natural parameters.

    All methods work on a block of observations at once and return one value per observation. Moments are the gradient
    of the log-normalizer with respect to the potentials and have their structure.
    """

    @abstractmethod
    def expectation(self, potentials: PyTree) -> tuple[PyTree, Array]:
        """Posterior moments, and the log-normalizer of each observation."""

    @abstractmethod
    def mode(self, potentials: PyTree) -> tuple[PyTree, Array]:
        """Sufficient statistics of the most probable value, and its potential."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray, potentials: PyTree) -> PyTree:
        """Sufficient statistics of one draw for each observation."""

    @abstractmethod
    def weigh(self, moments: PyTree, weights: Array) -> PyTree:
        """Moments times the weight of their observation."""

    @abstractmethod
    def pair(self, potentials: PyTree, moments: PyTree) -> Array:
        """Inner product of potentials and moments, for each observation (`0 * -inf` is 0)."""

    @abstractmethod
    def entropy(self, moments: PyTree) -> Array:
        """Entropy of the distribution with these moments, for each observation, in nats."""
