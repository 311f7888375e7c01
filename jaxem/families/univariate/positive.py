"""Distributions of positive numbers."""

from typing import final

import jax.numpy as jnp
from jaxtyping import Array

from jaxem.families.univariate._univariate import LOG_ROOT, AbstractUnivariate, standardized
from jaxem.families.univariate.symmetric import normal_tails
from jaxem.kernels.incomplete import log_gamma_kernel, log_gamma_tails, log_one_minus
from jaxem.kernels.tails import hazard, log_survival


class AbstractPositive(AbstractUnivariate):
    """A distribution of positive numbers, of which a subclass speaks as if all values were positive and finite."""

    positive = True

    def log_density(self, x):
        inside, safe = _inside(x)
        return jnp.where(inside, self.inner_density(safe), -jnp.inf)

    def log_tails(self, x):
        inside, safe = _inside(x)
        below, above = self.inner_tails(safe)
        end = jnp.asarray(x)[None] > 0
        return (
            jnp.where(inside, below, jnp.where(end, 0, -jnp.inf)),
            jnp.where(inside, above, jnp.where(end, -jnp.inf, 0)),
        )

    def inner_density(self, x: Array) -> Array:
        """Log density at positive `x` `[1, n]`."""
        raise NotImplementedError

    def inner_tails(self, x: Array) -> tuple[Array, Array]:
        """Both tails at positive `x` `[1, n]`."""
        raise NotImplementedError


@final
class LogNormal(AbstractPositive):
    """The exponential of a normal variable of this mean and standard deviation."""

    mean: Array
    deviation: Array

    def inner_density(self, x):
        z = (jnp.log(x) - self.mean) / self.deviation
        return -z * z / 2 - LOG_ROOT - jnp.log(self.deviation) - jnp.log(x)

    def inner_tails(self, x):
        return normal_tails((jnp.log(x) - self.mean) / self.deviation)

    def typical(self):
        middle = jnp.exp(self.mean)
        return middle, middle


@final
class Weibull(AbstractPositive):
    """`P(X > x) = exp(-(x / scale)^shape)`; exponential if the shape is 1."""

    shape: Array
    scale: Array

    def inner_density(self, x):
        log = jnp.log(x) - jnp.log(self.scale)
        return jnp.log(self.shape) - jnp.log(x) + self.shape * log - jnp.exp(self.shape * log)

    def inner_tails(self, x):
        log = self.shape * (jnp.log(x) - jnp.log(self.scale))
        tiny = log < -30
        below = jnp.where(tiny, log, log_one_minus(-jnp.exp(jnp.where(tiny, 0, log))))
        return below, -jnp.exp(log)

    def typical(self):
        return self.scale, self.scale


@final
class Gamma(AbstractPositive):
    """Of mean `shape / rate`."""

    shape: Array
    rate: Array

    def inner_density(self, x):
        return log_gamma_kernel(*jnp.broadcast_arrays(self.shape, self.rate * x)) + jnp.log(self.shape) - jnp.log(x)

    def inner_tails(self, x):
        return log_gamma_tails(self.shape, self.rate * x)

    def typical(self):
        middle = self.shape / self.rate
        return middle, middle


@final
class InverseGaussian(AbstractPositive):
    """The time at which a Brownian motion first reaches a level: of this mean, and variance `mean^3 / shape`."""

    mean: Array
    shape: Array

    def inner_density(self, x):
        z = jnp.sqrt(self.shape / x) * standardized(x[0], self.mean, self.mean)
        return (jnp.log(self.shape) - 3 * jnp.log(x) - z * z) / 2 - LOG_ROOT

    def inner_tails(self, x):
        """By two normal tails, of which the second has lost its large factor (Giner and Smyth 2016)."""
        root = jnp.sqrt(self.shape / x)
        z = root * standardized(x[0], self.mean, self.mean)
        other = hazard(root * (x / self.mean + 1))
        mirrored = -z * z / 2 - LOG_ROOT - jnp.log(other)
        below = jnp.logaddexp(log_survival(-z), mirrored)
        return below, log_survival(z) + jnp.log1p(-jnp.minimum(hazard(z) / other, 1))

    def typical(self):
        return self.mean, self.mean


def _inside(x: Array) -> tuple[Array, Array]:
    """Which values are positive and finite, and those values with 1 in the place of others, `[1, n]`."""
    x = jnp.asarray(x)[None]
    inside = (x > 0) & (x < jnp.inf)
    return inside, jnp.where(inside, x, 1)
