from typing import Any, ClassVar, final

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families.priors._prior import AbstractPositive, exp_positive, less_one, log_gamma
from jaxem.kernels.special import digamma_excess, gamma_divergence, ratio_divergence


@final
class Gamma(AbstractPositive):
    """Gamma prior of Poisson rates.

    Posterior-mode estimates need a shape of at least 1 (below 1 the density has no interior mode); variational Bayes
    and Gibbs sampling take any that is positive.

    **Arguments:**

    - `shape`: a scalar, `[d]` or `[k, d]`, positive. In a posterior-mode estimate `shape - 1` is how many events the
        prior counts for.
    - `rate`: likewise; how many observations the prior counts for. A posterior has `[k, d]` for both.

    **Example**

    >>> import jaxem
    >>> model = jaxem.Mixture(jaxem.Poisson(prior=jaxem.priors.Gamma(2.0, 1.0)), num_components=2)
    """

    shape: Any
    rate: Any

    modal: ClassVar[tuple[str, ...]] = ("shape",)

    def log_prob(self, x: Array) -> Float[Array, ""]:
        """Log density, summed over all entries."""
        a, rate = self.like(x).fields
        log = jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))
        return jnp.sum(a * jnp.log(rate) - gammaln(a) + (a - 1) * log - rate * x)

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
        """What the prior adds to the events, and to the rows that they were seen in, in a posterior-mode estimate;
        raises `ValueError` where there is none."""
        events, rate = less_one(self.shape, "shape", dtype), jnp.asarray(self.rate, dtype)
        return jnp.broadcast_to(events, shape), jnp.broadcast_to(rate, shape)

    def update(self, events: Float[Array, "k d"], exposure: Float[Array, "k d"]) -> "Gamma":
        """The posterior given expected events, and the expected rows that they were seen in."""
        a, rate = self.like(events).fields
        return Gamma(a + events, rate + exposure)

    def mode(self) -> Array:
        """The most probable values, where every shape is at least 1."""
        return less_one(self.shape, "shape", jnp.result_type(self.shape)) / self.rate

    def mean(self) -> Array:
        """Expected values."""
        return self.shape / self.rate

    def log_excess(self) -> Array:
        """The mean of the logarithm less the logarithm of the mean; negative."""
        return digamma_excess(self.shape)

    def expected_log(self) -> Array:
        """Expected logarithms."""
        return jnp.log(self.mean()) + self.log_excess()

    def draw(self, key: PRNGKeyArray) -> Array:
        """One draw of each value."""
        return exp_positive(log_gamma(key, self.shape) - jnp.log(self.rate))

    def kl(self, prior: "Gamma") -> Float[Array, ""]:
        """Kullback-Leibler divergence from `prior`, summed over all entries."""
        b, rate = prior.like(self.shape).fields
        return jnp.sum(gamma_divergence(self.shape, b) + b * ratio_divergence(self.mean() / (b / rate)))
