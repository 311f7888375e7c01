from typing import Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families.priors._prior import AbstractPositive, exp_positive, less_one
from jaxem.families.priors.beta import Beta
from jaxem.kernels.linalg import matmul


@final
class StickBreaking(AbstractPositive):
    """Stick-breaking prior of mixture weights: the Dirichlet process, truncated at the number of components.

    `weights[j] = v[j] (1 - v[0]) ... (1 - v[j - 1])` with `v[j] ~ Beta(shape, concentration)`, and 1 for the last
    (Ishwaran and James 2001; Blei and Jordan 2006). The order of the components matters: the first are the largest.

    Densities, modes and posterior-mode estimates are those of the sticks `v`. The latter need a concentration of at
    least 1 (below 1 the density has no interior mode).

    **Arguments:**

    - `concentration`: a scalar or `[k - 1]`, positive; larger values spread the weight over more components.
    - `shape`: likewise. 1, but for posteriors, where both are `[k - 1]`.

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(10, weights_prior=jaxem.priors.StickBreaking(1.0))
    """

    concentration: Any
    shape: Any = 1.0

    modal: ClassVar[tuple[str, ...]] = ("concentration", "shape")

    @property
    def sticks(self) -> Beta:
        """The distribution of `v`."""
        return Beta(self.shape, self.concentration)

    def log_prob(self, p: Float[Array, " k"]) -> Float[Array, ""]:
        """Log density of the sticks of the weights `p`."""
        tiny, after = jnp.finfo(p.dtype).tiny, later(p)
        b, a = self.like(p).fields
        log, rest = (jnp.log(jnp.maximum(part, tiny)) for part in (p[:-1], after))
        total = jnp.log(jnp.maximum(p[:-1] + after, tiny))
        return jnp.sum((a - 1) * (log - total) + (b - 1) * (rest - total) - betaln(a, b))

    def estimate(self, counts: Float[Array, " k"], fallback: Float[Array, " k"]) -> Float[Array, " k"]:
        """Weights at the mode of the posterior given these counts; `fallback` if there are none, nor pseudo-counts."""
        after = later(counts)
        ones = counts[:-1] + less_one(self.shape, "shape", counts.dtype)
        zeros = after + less_one(self.concentration, "concentration", counts.dtype)
        total = ones + zeros
        # Where nothing is left there is no stick to break.
        v = jnp.where(total == 0, 0, ones / jnp.where(total == 0, 1, total))
        return jnp.where((jnp.sum(counts) == 0) & jnp.all(total == 0), fallback, _broken(v))

    def like(self, x: Float[Array, " k"]) -> "StickBreaking":
        """The prior of weights `[k]`, with fields `[k - 1]` of that precision."""
        return super().like(x[:-1])

    def update(self, counts: Float[Array, " k"]) -> "StickBreaking":
        """The posterior given expected counts."""
        b, a = self.like(counts).fields
        return StickBreaking(b + later(counts), a + counts[:-1])

    def mode(self) -> Float[Array, " k"]:
        """Weights at the most probable sticks."""
        return _broken(self.sticks.mode())

    def mean(self) -> Float[Array, " k"]:
        """Expected weights."""
        a, b = self.shape, self.concentration
        return exp_positive(self._weights(-jnp.log1p(b / a), -jnp.log1p(a / b)))

    def expected_log(self) -> Float[Array, " k"]:
        """Expected logarithms of the weights."""
        return self._weights(*self.sticks.expected_log())

    def draw(self, key: PRNGKeyArray) -> Float[Array, " k"]:
        """One draw of the weights."""
        return exp_positive(self._weights(*self.sticks.draw_log(key)))

    def kl(self, prior: "StickBreaking") -> Float[Array, ""]:
        """Kullback-Leibler divergence from `prior`."""
        return self.sticks.kl(prior.sticks)

    def _weights(self, log_v, log_rest):
        """Logarithms of the weights from those of the sticks and of what they leave."""
        k = log_v.shape[0] + 1
        before = matmul(jnp.asarray(np.tri(k, k - 1, -1), log_v.dtype), log_rest)
        return before + jnp.concatenate([log_v, jnp.zeros(1, log_v.dtype)])


def later(x: Float[Array, " k"]) -> Float[Array, " k-1"]:
    """Sums over the entries that come after each, but the last."""
    k = x.shape[0]
    return matmul(jnp.asarray(np.triu(np.ones((k - 1, k)), 1), x.dtype), x)


def _broken(v):
    one = jnp.ones(1, v.dtype)
    return jnp.concatenate([one, jnp.cumprod(1 - v)]) * jnp.concatenate([v, one])
