from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import betaln, gammaln
from jaxtyping import Array


@final
class NormalInverseWishart(eqx.Module):
    """Conjugate prior of a Gaussian's mean and covariance.

    `covariance ~ InverseWishart(scale, degrees_of_freedom)` and then `mean ~ N(mean, covariance / mean_precision)`.
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

    def __check_init__(self):
        _require(self.concentration, 1, "concentration", "at least 1")

    def log_prob(self, p: Array) -> Array:
        """Log density, summed over leading axes; `p` is `[..., k]`."""
        a = jnp.broadcast_to(jnp.asarray(self.concentration, p.dtype), p.shape)
        normalizer = gammaln(jnp.sum(a, -1)) - jnp.sum(gammaln(a), -1)
        log = jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))
        return jnp.sum(normalizer + jnp.sum((a - 1) * log, -1))

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """What the prior adds to the counts."""
        return jnp.broadcast_to(jnp.asarray(self.concentration, dtype) - 1, shape)


@final
class Gamma(eqx.Module):
    """Gamma prior of Poisson rates, for posterior-mode estimates.

    **Arguments:**

    - `shape`: a scalar, `[d]` or `[k, d]`, at least 1 (below 1 the density has no interior mode); `shape - 1` is how
        many events the prior counts for.
    - `rate`: likewise, positive; how many observations the prior counts for.

    **Example**

    >>> import jaxem
    >>> model = jaxem.Mixture(jaxem.Poisson(prior=jaxem.Gamma(2.0, 1.0)), num_components=2)
    """

    shape: Any
    rate: Any

    def __check_init__(self):
        _require(self.shape, 1, "shape", "at least 1")
        _require(self.rate, np.finfo(float).tiny, "rate", "positive")

    def log_prob(self, x: Array) -> Array:
        """Log density, summed over all entries."""
        events, rate = self.pseudo_counts(x.shape, x.dtype)
        log = jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))
        return jnp.sum((events + 1) * jnp.log(rate) - gammaln(events + 1) + events * log - rate * x)

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
        """What the prior adds to the events, and to the rows that they were seen in."""
        events, rate = (jnp.asarray(v, dtype) for v in (self.shape, self.rate))
        return jnp.broadcast_to(events - 1, shape), jnp.broadcast_to(rate, shape)


@final
class Beta(eqx.Module):
    """Beta prior of probabilities, for posterior-mode estimates.

    **Arguments:**

    - `a`, `b`: scalars, `[d]` or `[k, d]`, at least 1 (below 1 the density has no interior mode); `a - 1` and `b - 1`
        are how many ones and zeros the prior counts for.

    **Example**

    >>> import jaxem
    >>> model = jaxem.Mixture(jaxem.Bernoulli(prior=jaxem.Beta(2.0, 2.0)), num_components=2)
    """

    a: Any
    b: Any

    def __check_init__(self):
        _require(self.a, 1, "a", "at least 1")
        _require(self.b, 1, "b", "at least 1")

    def log_prob(self, p: Array) -> Array:
        """Log density, summed over all entries."""
        ones, zeros = self.pseudo_counts(p.shape, p.dtype)
        tiny = jnp.finfo(p.dtype).tiny
        log, complement = jnp.log(jnp.maximum(p, tiny)), jnp.log(jnp.maximum(1 - p, tiny))
        return jnp.sum(ones * log + zeros * complement - betaln(ones + 1, zeros + 1))

    def pseudo_counts(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
        """What the prior adds to the ones and to the zeros."""
        a, b = (jnp.asarray(v, dtype) for v in (self.a, self.b))
        return jnp.broadcast_to(a - 1, shape), jnp.broadcast_to(b - 1, shape)


def _require(value: Any, least: float, name: str, words: str) -> None:
    if not isinstance(value, Tracer) and not np.all(np.asarray(value) >= least):
        raise ValueError(f"{name} must be {words}, got {value!r}")
