from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array


@final
class NormalInverseWishart(eqx.Module):
    """Conjugate prior of a Gaussian's mean and covariance.

    `covariance ~ InverseWishart(scale, degrees_of_freedom)`, `mean | covariance ~ N(mean, covariance / mean_precision)`.
    With `"diagonal"` and `"spherical"` covariances the inverse-Wishart becomes inverse gammas of shape
    `degrees_of_freedom / 2` and rate `scale / 2`. The estimate is the joint mode in mean and covariance (Fraley and
    Raftery 2007).

    **Arguments:**

    - `mean`: prior mean, `[d]`.
    - `mean_precision`: how many observations the prior mean counts for, positive.
    - `scale`: `[d, d]` for full and tied covariances, `[d]` for diagonal ones, a scalar for spherical ones.
    - `degrees_of_freedom`: more than `d - 1` (more than 0 for diagonal and spherical ones).

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> prior = jaxem.NormalInverseWishart(jnp.zeros(2), 0.01, jnp.eye(2), 4.0)
    >>> model = jaxem.GaussianMixture(2, prior=prior)
    """

    mean: Any
    mean_precision: Any
    scale: Any
    degrees_of_freedom: Any


@final
class Dirichlet(eqx.Module):
    """Dirichlet prior of a probability vector, for posterior-mode estimates.

    **Arguments:**

    - `concentration`: a scalar or `[k]`, at least 1 (below 1 the density has no interior mode).

    **Example**

    >>> import jaxem
    >>> model = jaxem.GaussianMixture(2, weights_prior=jaxem.Dirichlet(2.0))
    """

    concentration: Any

    def log_prob(self, p: Array) -> Array:
        """Log density, summed over leading axes; `p` is `[..., k]`."""
        a = jnp.broadcast_to(jnp.asarray(self.concentration, p.dtype), p.shape)
        normalizer = gammaln(jnp.sum(a, -1)) - jnp.sum(gammaln(a), -1)
        log = jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))
        return jnp.sum(normalizer + jnp.sum((a - 1) * log, -1))

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """What the prior adds to the counts."""
        return jnp.broadcast_to(jnp.asarray(self.concentration, dtype) - 1, shape)
