from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxem import _bijections as bijections
from jaxem.families._counts import clamped_log, log_complement
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table, require
from jaxem.families.priors import Beta


class BernoulliParams(NamedTuple):
    """Probabilities of a 1, `[k, d]`."""

    probability: Float[Array, "k d"]


class BernoulliNatural(NamedTuple):
    """Coefficients of 1 and of the rarer outcome of each column."""

    constant: Float[Array, " k"]
    logit: Float[Array, "k d"]


@final
class Bernoulli(AbstractFamily):
    """Independent columns of 0 and 1.

    **Arguments:**

    - `prior`: a `Beta` on the probabilities.

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Bernoulli(), num_components=2).family.parameters
    ('probability',)
    """

    prior: Beta | None = None
    # Columns of which the statistics count the zeros: where ones are the rule, their logits would add up and cancel.
    _flip: Bool[Array, " d"] | None = None

    parameters: ClassVar[tuple[str, ...]] = ("probability",)
    conjugate: ClassVar[str] = "Bernoulli(prior=Beta(...))"

    # The linear map

    def natural(self, params: BernoulliParams) -> BernoulliNatural:
        rare = self._flipped(params.probability)
        other = log_complement(rare)
        return BernoulliNatural(jnp.sum(other, -1), clamped_log(rare) - other)

    def coefficients(self, natural: BernoulliNatural) -> Float[Array, "k p"]:
        return jnp.concatenate([natural.constant[:, None], natural.logit], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        x = self._flipped(x).T
        return jnp.concatenate([jnp.ones_like(x[:1]), x], 0)

    def add_constant(self, natural: BernoulliNatural, constant: Float[Array, " k"]) -> BernoulliNatural:
        return natural._replace(constant=natural.constant + constant)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        possible = jnp.all((x == 0) | (x == 1), -1)
        return jnp.where(possible, jnp.zeros(x.shape[0], x.dtype), -jnp.inf)

    def _flipped(self, p):
        return p if self._flip is None else jnp.where(self._flip[None], 1 - p, p)

    # The M-step

    def maximize(
        self, stats: BernoulliNatural, params: BernoulliParams, frozen: tuple[str, ...] = ()
    ) -> BernoulliParams:
        if "probability" in frozen:
            return params
        counts, rare = jnp.broadcast_to(stats.constant[:, None], stats.logit.shape), stats.logit
        empty = self.empty(stats.constant)[:, None]
        if self.prior is not None:
            ones, zeros = self.prior.pseudo_counts(rare.shape, rare.dtype)
            rare = rare + (ones if self._flip is None else jnp.where(self._flip[None], zeros, ones))
            counts = counts + ones + zeros
            empty = empty & (ones + zeros == 0)
        probability = self._flipped(jnp.clip(rare / jnp.where(empty, 1, counts), 0, 1))
        return BernoulliParams(jnp.where(empty, params.probability, probability))

    def log_prior(self, params: BernoulliParams) -> Array:
        p = params.probability
        return jnp.zeros((), p.dtype) if self.prior is None else self.prior.log_prob(p)

    # The posterior

    def posterior(self, stats: BernoulliNatural) -> Beta:
        prior, rare = self.require_prior(), stats.logit
        ones, zeros = self._swapped(rare, jnp.maximum(stats.constant[:, None] - rare, 0))
        return prior.update(ones, zeros)

    def expected_natural(self, posterior: Beta) -> BernoulliNatural:
        log, other = self._swapped(*posterior.expected_log())
        return BernoulliNatural(jnp.sum(other, -1), log - other)

    def posterior_mean(self, posterior: Beta) -> BernoulliParams:
        return BernoulliParams(posterior.mean())

    def draw(self, key: PRNGKeyArray, posterior: Beta) -> BernoulliParams:
        return BernoulliParams(posterior.draw(key))

    def kl(self, posterior: Beta) -> Array:
        return posterior.kl(self.require_prior())

    def _swapped(self, a, b):
        """What belongs to the rarer outcome and to the other, from what belongs to ones and zeros; or back."""
        if self._flip is None:
            return a, b
        return jnp.where(self._flip[None], b, a), jnp.where(self._flip[None], a, b)

    # Coordinates

    def unconstrain(self, params: BernoulliParams) -> BernoulliParams:
        return BernoulliParams(bijections.unit_to_free(params.probability))

    def constrain(self, free: BernoulliParams) -> BernoulliParams:
        return BernoulliParams(bijections.free_to_unit(free.probability))

    def bind(self, x, weights, reduce):
        total, sums = reduce((jnp.sum(weights), jnp.sum(weights[:, None] * x, 0)))
        return Bernoulli(self.prior, sums > total / 2)

    # Data

    def from_points(self, points, x, weights):
        share = (weights / jnp.sum(weights))[:, None]
        centre = (points + jnp.sum(share * x, 0)[None]) / 2
        return BernoulliParams(0.99 * centre + 0.005)

    def mend(self, params, pooled, counts):
        counts = counts[:, None]
        return BernoulliParams((counts * params.probability + pooled.probability) / (counts + 1))

    def sample(self, key, params, labels):
        p = params.probability[labels]
        return jax.random.bernoulli(key, p).astype(p.dtype)

    @property
    def domains(self):
        return {"probability": "unit"}

    def width(self, params):
        return params.probability.shape[1]

    def check(self, x: Any, name: str = "data") -> None:
        check_table(x, name)
        x = np.asarray(x)
        require((x == 0) | (x == 1), x, name, "is neither 0 nor 1")

    def floats_per_row(self, params):
        k, d = params.probability.shape
        return d + 1, 2 * k
