from typing import Any, ClassVar, final

import jax.numpy as jnp
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families._counts import clamped_log
from jaxem.families.priors._prior import AbstractPositive, exp_positive, less_one, log_gamma
from jaxem.kernels import dirichlet


@final
class Dirichlet(AbstractPositive):
    """Dirichlet prior of a probability vector.

    Posterior-mode estimates need concentrations of at least 1 (below 1 the density has no interior mode); variational
    Bayes and Gibbs sampling take any that are positive, and those far below 1 leave superfluous components empty.

    **Arguments:**

    - `concentration`: a scalar or `[k]`, positive. A posterior has `[..., k]`, a row for each vector.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(2, weights_prior=jaxem.priors.Dirichlet(2.0))
    """

    concentration: Any

    modal: ClassVar[tuple[str, ...]] = ("concentration",)

    def log_prob(self, p: Float[Array, "... k"]) -> Float[Array, ""]:
        """Log density, summed over leading axes; `p` is `[..., k]`."""
        a = self.like(p).concentration
        normalizer = gammaln(jnp.sum(a, -1)) - jnp.sum(gammaln(a), -1)
        return jnp.sum(normalizer + jnp.sum((a - 1) * clamped_log(p), -1))

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """What the prior adds to the counts in a posterior-mode estimate; raises `ValueError` where there is none."""
        return jnp.broadcast_to(less_one(self.concentration, "concentration", dtype), shape)

    def estimate(self, counts: Float[Array, " k"], fallback: Float[Array, " k"]) -> Float[Array, " k"]:
        """The mode of the posterior given these counts; `fallback` if there are none, nor pseudo-counts."""
        counts = counts + self.pseudo_counts(counts.shape, counts.dtype)
        total = jnp.sum(counts)
        return jnp.where(total == 0, fallback, counts / jnp.where(total == 0, 1, total))

    def update(self, counts: Float[Array, "... k"]) -> "Dirichlet":
        """The posterior given expected counts."""
        return Dirichlet(self.like(counts).concentration + counts)

    def mode(self) -> Float[Array, "... k"]:
        """The most probable vectors, where every concentration is at least 1."""
        dtype = jnp.result_type(self.concentration)
        counts = less_one(self.concentration, "concentration", dtype)
        return counts / jnp.sum(counts, -1, keepdims=True)

    def mean(self) -> Float[Array, "... k"]:
        """Expected vectors."""
        return self.concentration / jnp.sum(self.concentration, -1, keepdims=True)

    def expected_log(self) -> Float[Array, "... k"]:
        """Expected logarithms; their exponentials sum to less than 1."""
        return dirichlet.expected_log(self.concentration)

    def draw(self, key: PRNGKeyArray) -> Float[Array, "... k"]:
        """One draw of each vector."""
        log = log_gamma(key, self.concentration)
        return exp_positive(log - logsumexp(log, -1, keepdims=True))

    def kl(self, prior: "Dirichlet") -> Float[Array, ""]:
        """Kullback-Leibler divergence from `prior`, summed over leading axes."""
        a = self.concentration
        return jnp.sum(dirichlet.divergence(a, prior.like(a).concentration))
