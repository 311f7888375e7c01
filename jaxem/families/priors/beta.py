from typing import Any, ClassVar, final

import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families.priors._prior import AbstractPositive, exp_positive, less_one, log_gamma
from jaxem.kernels.special import expected_log, gamma_divergence


@final
class Beta(AbstractPositive):
    """Beta prior of probabilities.

    Posterior-mode estimates need `a` and `b` of at least 1 (below 1 the density has no interior mode); variational
    Bayes and Gibbs sampling take any that are positive.

    **Arguments:**

    - `a`, `b`: scalars, `[d]` or `[k, d]`, positive; in a posterior-mode estimate `a - 1` and `b - 1` are how many ones
        and zeros the prior counts for. A posterior has `[k, d]` for both.

    **Example**

    >>> import jaxem
    >>> model = jaxem.Mixture(jaxem.Bernoulli(prior=jaxem.priors.Beta(2.0, 2.0)), num_components=2)
    """

    a: Any
    b: Any

    modal: ClassVar[tuple[str, ...]] = ("a", "b")

    def log_prob(self, p: Array) -> Float[Array, ""]:
        """Log density, summed over all entries."""
        a, b = self.like(p).fields
        tiny = jnp.finfo(p.dtype).tiny
        log, complement = jnp.log(jnp.maximum(p, tiny)), jnp.log(jnp.maximum(1 - p, tiny))
        return jnp.sum((a - 1) * log + (b - 1) * complement - betaln(a, b))

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
        """What the prior adds to the ones and to the zeros in a posterior-mode estimate; raises `ValueError` where
        there is none."""
        ones, zeros = less_one(self.a, "a", dtype), less_one(self.b, "b", dtype)
        return jnp.broadcast_to(ones, shape), jnp.broadcast_to(zeros, shape)

    def update(self, ones: Array, zeros: Array) -> "Beta":
        """The posterior given expected counts."""
        a, b = self.like(ones).fields
        return Beta(a + ones, b + zeros)

    def mode(self) -> Array:
        """The most probable values, where `a` and `b` are at least 1 and not both 1."""
        dtype = jnp.result_type(self.a)
        ones, zeros = less_one(self.a, "a", dtype), less_one(self.b, "b", dtype)
        return ones / (ones + zeros)

    def mean(self) -> Array:
        """Expected values."""
        return self.a / (self.a + self.b)

    def expected_log(self) -> tuple[Array, Array]:
        """Expected logarithms of the probability and of its complement."""
        return expected_log(self.a, self.b), expected_log(self.b, self.a)

    def draw_log(self, key: PRNGKeyArray) -> tuple[Array, Array]:
        """Logarithms of one draw of each value, and of its complement."""
        ones, zeros = log_gamma(key, jnp.stack([self.a, self.b]))
        total = jnp.logaddexp(ones, zeros)
        return ones - total, zeros - total

    def draw(self, key: PRNGKeyArray) -> Array:
        """One draw of each value."""
        return exp_positive(self.draw_log(key)[0])

    def kl(self, prior: "Beta") -> Float[Array, ""]:
        """Kullback-Leibler divergence from `prior`, summed over all entries."""
        one, other = self.fields, prior.like(self.a).fields
        total, total_other = one[0] + one[1], other[0] + other[1]
        terms = -gamma_divergence(total, total_other)
        for x, y in zip(one, other, strict=True):
            terms = terms + gamma_divergence(x, y) + y * jnp.log((y / total_other) / (x / total))
        return jnp.sum(terms)
