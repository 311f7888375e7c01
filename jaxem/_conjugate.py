"""Conjugacy: what a family, or a model, with a conjugate prior can do besides."""

from abc import abstractmethod
from functools import reduce
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
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


@final
class PriorsConjugate(AbstractConjugate):
    """Of parameters each of which has a prior of its own: a posterior is a tuple with one of that kind for each."""

    priors: tuple[Any, ...]

    def posterior(self, stats):
        return tuple(prior.update(own) for prior, own in zip(self.priors, stats, strict=True))

    def expected_natural(self, posterior):
        return tuple(own.expected_log() for own in posterior)

    def mean(self, posterior):
        return tuple(own.mean() for own in posterior)

    def draw(self, key, posterior):
        keys = [key] if len(posterior) == 1 else jax.random.split(key, len(posterior))
        return tuple(own.draw(one) for own, one in zip(posterior, keys, strict=True))

    def kl(self, posterior) -> Any:
        terms = [own.kl(prior) for own, prior in zip(posterior, self.priors, strict=True)]
        return reduce(jnp.add, terms) if terms else 0

    def unconstrain(self, posterior):
        return tuple(own.unconstrain() for own in posterior)

    def constrain(self, free):
        return tuple(type(prior).constrain(own) for prior, own in zip(self.priors, free, strict=True))


def require_conjugate(model: Any, use: str) -> AbstractConjugate:
    """The posteriors of a model; raises `MissingCapabilityError` where it has none, with what they would take."""
    found = model.conjugate()
    if found is None:
        name = getattr(model, "name", None) or type(model).__name__
        hint = getattr(model, "prior_hint", "define `conjugate`")
        raise MissingCapabilityError(f"{name} has no conjugate prior (rung 3), which {use} needs: {hint}")
    return found
