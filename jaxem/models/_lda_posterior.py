"""Parameters of topic models, and the posteriors of topics."""

from typing import Any, NamedTuple, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxem._conjugate import AbstractConjugate
from jaxem.families.priors import Dirichlet


class LDAParams(NamedTuple):
    """The Dirichlet `concentration` of documents, `[K]` or a scalar, and the word probabilities of `topics` `[K, V]`.

    In a posterior `topics` is a `Dirichlet` of concentration `[K, V]`.
    """

    concentration: Float[Array, "..."]
    topics: Any

    def permuted(self, order: Array) -> "LDAParams":
        """With topic `order[j]` in the place of topic `j`."""
        each = self.concentration if jnp.ndim(self.concentration) == 0 else self.concentration[order]
        return LDAParams(each, self.topics[order])


class LDANatural(NamedTuple):
    """Log probabilities of words, the Dirichlet of documents and its normalizer, and 1, which the counts multiply."""

    log_topics: Float[Array, "K V"]
    concentration: Float[Array, " K"]
    log_normalizer: Float[Array, ""]
    unit: Float[Array, ""]


class LDADraws(NamedTuple):
    """What is hidden in drawn documents: `proportions` `[n, K]` and the topic of each word, `[n, L]`."""

    proportions: Float[Array, "n K"]
    topics: Int[Array, "n L"]


@final
class LDAConjugate(AbstractConjugate):
    """Dirichlet posteriors of the topics; the concentration of the documents is estimated, or stays."""

    model: Any
    prior: Dirichlet
    concentration: Array | None = None  # where it is now

    def about(self, params: LDAParams) -> "LDAConjugate":
        return LDAConjugate(self.model, self.prior, params.concentration)

    def posterior(self, stats: LDANatural) -> LDAParams:
        model, concentration = self.model, self.concentration
        if concentration is None:
            concentration = model.concentration_at_first(stats.log_topics.dtype)
        if "concentration" not in model.held:
            concentration = model.learned(stats, concentration)
        return LDAParams(concentration, self.prior.update(jnp.maximum(stats.log_topics, 0)))

    def expected_natural(self, posterior: LDAParams) -> LDANatural:
        return self.model.natural_of(posterior.topics.expected_log(), posterior.concentration)

    def mean(self, posterior: LDAParams) -> LDAParams:
        return posterior._replace(topics=posterior.topics.mean())

    def draw(self, key, posterior: LDAParams) -> LDAParams:
        return posterior._replace(topics=posterior.topics.draw(key))

    def kl(self, posterior: LDAParams) -> Array:
        return posterior.topics.kl(self.prior)

    def unconstrain(self, posterior):
        return LDAParams(jnp.log(posterior.concentration), posterior.topics.unconstrain())

    def constrain(self, free):
        return LDAParams(jnp.exp(free.concentration), Dirichlet.constrain(free.topics))
