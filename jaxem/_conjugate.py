"""Conjugacy: what a family, or a model, with a conjugate prior can do besides."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._errors import MissingCapabilityError


class AbstractConjugate(eqx.Module):
    """Posteriors of the parameters given expected statistics, for variational Bayes and Gibbs sampling.

    A posterior is a tree of arrays like the parameters, with a distribution in the place of each.
    """

    @abstractmethod
    def posterior(self, stats: PyTree) -> PyTree:
        """The posterior of the parameters given expected statistics."""

    @abstractmethod
    def expected_natural(self, posterior: PyTree) -> PyTree:
        """Expected natural parameters."""

    @abstractmethod
    def mean(self, posterior: PyTree) -> PyTree:
        """Parameters to plug in for the posterior."""

    @abstractmethod
    def draw(self, key: PRNGKeyArray, posterior: PyTree) -> PyTree:
        """One draw of the parameters."""

    @abstractmethod
    def kl(self, posterior: PyTree) -> Array:
        """Kullback-Leibler divergence of the posterior from the prior, over all members, in nats."""

    def about(self, params: PyTree) -> "AbstractConjugate":
        """With the hyperparameters, where some are estimated, of `params`."""
        return self

    def unconstrain(self, posterior: PyTree) -> PyTree:
        """Unconstrained coordinates of a posterior."""
        return posterior.unconstrain()

    @abstractmethod
    def constrain(self, free: PyTree) -> PyTree:
        """The inverse of `unconstrain`."""

    def encode(self, posterior: PyTree) -> PyTree:
        """A posterior in the coordinates of the kernel, or bound model, that this belongs to."""
        return posterior

    def decode(self, posterior: PyTree) -> PyTree:
        """A posterior in the coordinates of the data."""
        return posterior


class AbstractPriorConjugate(AbstractConjugate):
    """Of a family with one parameter, whose posterior is of the kind of its `prior`."""

    prior: eqx.AbstractVar[Any]

    params: ClassVar[Any]  # the class of the parameters

    def mean(self, posterior):
        return self.params(posterior.mean())

    def draw(self, key, posterior):
        return self.params(posterior.draw(key))

    def kl(self, posterior):
        return posterior.kl(self.prior)

    def constrain(self, free):
        return type(self.prior).constrain(free)


def require_conjugate(model: Any, use: str) -> AbstractConjugate:
    """The posteriors of a model; raises `MissingCapabilityError` where it has none, with what they would take."""
    found = model.conjugate()
    if found is None:
        name = getattr(model, "name", None) or type(model).__name__
        hint = getattr(model, "prior_hint", "define `conjugate`")
        raise MissingCapabilityError(f"{name} has no conjugate prior (rung 3), which {use} needs: {hint}")
    return found
