"""Distributions of integers, and of a single value."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from jaxem.families._counts import deviance, stirling
from jaxem.families.univariate._univariate import AbstractUnivariate, ones
from jaxem.kernels import exclusion
from jaxem.kernels.incomplete import log_beta_kernel, log_beta_tails, log_gamma_tails


class AbstractCounts(AbstractUnivariate):
    """Integers from 0 on, of which a subclass speaks as if all values were such."""

    discrete = True
    positive = True

    def log_density(self, x):
        x = jnp.asarray(x)[None]
        possible = (x >= 0) & (x == jnp.floor(x)) & (x < jnp.inf)
        return jnp.where(possible, self.log_probability(jnp.where(possible, x, 0)), -jnp.inf)

    def log_tails(self, x):
        x = jnp.floor(jnp.asarray(x)[None])
        inside = (x >= 0) & (x < jnp.inf)
        below, above = self.inner_tails(jnp.where(inside, x, 0))
        return (
            jnp.where(inside, below, jnp.where(x < 0, -jnp.inf, 0)),
            jnp.where(inside, above, jnp.where(x < 0, 0, -jnp.inf)),
        )

    def log_probability(self, x: Array) -> Array:
        """Of the integers `x` `[1, n]`."""
        raise NotImplementedError

    def inner_tails(self, x: Array) -> tuple[Array, Array]:
        """Both tails at the integers `x` `[1, n]`."""
        raise NotImplementedError


@final
class Poisson(AbstractCounts):
    """Of this mean, which may be 0."""

    rate: Array

    def log_probability(self, x):
        return exclusion.or_minus_infinity(-deviance(*jnp.broadcast_arrays(x, self.rate)) - stirling(x))

    def inner_tails(self, x):
        above, below = log_gamma_tails(x + 1, self.rate)
        return below, above

    def typical(self):
        return self.rate, jnp.sqrt(self.rate) + 1


@final
class NegativeBinomial(AbstractCounts):
    """Of this mean, and variance `mean + mean^2 / theta`."""

    mean: Array
    theta: Array

    def log_probability(self, x):
        p, q = self._shares()
        x, theta, p, q = jnp.broadcast_arrays(x, self.theta, p, q)
        some = (x > 0) & (q > 0)
        safe = jnp.where(some, x, 1)
        log = log_beta_kernel(theta, safe, jnp.where(some, p, 0.5), jnp.where(some, q, 0.5)) - jnp.log(safe)
        none = theta * -jnp.log1p(jnp.where(q > 0, self.mean / self.theta, 0))
        return jnp.where(some, log, jnp.where(x > 0, -jnp.inf, none))

    def inner_tails(self, x):
        p, q = self._shares()
        return log_beta_tails(self.theta, x + 1, p, q)

    def typical(self):
        return self.mean, jnp.sqrt(self.mean + self.mean * (self.mean / self.theta)) + 1

    def _shares(self) -> tuple[Array, Array]:
        ratio = self.mean / self.theta
        return 1 / (1 + ratio), ratio / (1 + ratio)


@final
class Binomial(AbstractCounts):
    """Successes among `size` trials, from their probability and that of a failure."""

    size: Array
    probability: Array
    failure: Array

    def log_probability(self, x):
        x, size, p, q = jnp.broadcast_arrays(x, self.size, self.probability, self.failure)
        amid = (x > 0) & (x < size) & (p > 0) & (q > 0)
        won, lost = jnp.where(amid, x, 1), jnp.where(amid, size - x, 1)
        log = log_beta_kernel(won, lost, jnp.where(amid, p, 0.5), jnp.where(amid, q, 0.5))
        log = log + jnp.log(jnp.where(amid, size, 1)) - jnp.log(won) - jnp.log(lost)
        end = x * exclusion.log(p) + (size - x) * exclusion.log(q)
        return jnp.where(amid, log, jnp.where(x <= size, exclusion.or_minus_infinity(end), -jnp.inf))

    def inner_tails(self, x):
        inside = x < self.size
        x, rest = jnp.broadcast_arrays(jnp.where(inside, x, 0), jnp.where(inside, self.size - x, 1))
        below, above = log_beta_tails(rest, x + 1, self.failure, self.probability)
        return jnp.where(inside, below, 0), jnp.where(inside, above, -jnp.inf)

    def highest(self):
        return jnp.broadcast_to(self.size, self.probability.shape)

    def typical(self):
        return self.size * self.probability, jnp.sqrt(self.size * self.probability * self.failure) + 1


@final
class Categories(AbstractCounts):
    """The codes 0, 1, ... with probabilities `[k, c]`."""

    probabilities: Array

    def log_probability(self, x):
        at = x[:, None] == jnp.arange(self.probabilities.shape[1], dtype=x.dtype)[None, :, None]
        return _log(jnp.sum(jnp.where(at, self.probabilities[..., None], 0), 1))

    def inner_tails(self, x):
        upto = jnp.arange(self.probabilities.shape[1], dtype=x.dtype)[None, :, None] <= x[:, None]
        p = self.probabilities[..., None]
        return _log(jnp.sum(jnp.where(upto, p, 0), 1)), _log(jnp.sum(jnp.where(upto, 0, p), 1))

    def highest(self):
        codes = jnp.arange(self.probabilities.shape[1], dtype=self.probabilities.dtype)[None]
        return jnp.max(jnp.where(self.probabilities > 0, codes, 0), 1, keepdims=True)

    def typical(self):
        one = ones(self.probabilities.shape[0], self.probabilities.dtype)
        return one, one * self.probabilities.shape[1]


@final
class Point(AbstractUnivariate):
    """A single value."""

    value: Array  # [k, 1]
    integer: bool = eqx.field(static=True, default=True)

    @property
    def discrete(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.integer

    @property
    def positive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.integer

    def log_density(self, x):
        return jnp.where(jnp.asarray(x)[None] == self.value, jnp.zeros_like(self.value), -jnp.inf)

    def log_tails(self, x):
        return _step(self.value <= jnp.asarray(x)[None], self.value)

    def log_tails_below(self, x):
        return _step(self.value < jnp.asarray(x)[None], self.value)

    def highest(self):
        return self.value

    def typical(self):
        return self.value, jnp.ones_like(self.value)


def _step(reached: Array, like: Array) -> tuple[Array, Array]:
    zero: Any = jnp.zeros_like(like)
    return jnp.where(reached, zero, -jnp.inf), jnp.where(reached, -jnp.inf, zero)


def _log(p: Array) -> Array:
    """`log(p)`, minus infinity at 0 without a derivative there."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), -jnp.inf)
