"""Distributions that are symmetric about a location."""

import math
from typing import final

import jax.numpy as jnp
from jaxtyping import Array

from jaxem.families.univariate._univariate import LOG_ROOT, AbstractUnivariate, standardized
from jaxem.kernels.incomplete import log_beta_tails, log_one_minus
from jaxem.kernels.special import stirling_excess
from jaxem.kernels.tails import log_survival


@final
class Normal(AbstractUnivariate):
    """Of this mean and standard deviation."""

    mean: Array
    deviation: Array

    def log_density(self, x):
        z = standardized(x, self.mean, self.deviation)
        return -z * z / 2 - LOG_ROOT - jnp.log(self.deviation)

    def log_tails(self, x):
        return normal_tails(standardized(x, self.mean, self.deviation))

    def typical(self):
        return self.mean, self.deviation


@final
class StudentT(AbstractUnivariate):
    """Student's t: `(x - mean) / scale` has so many degrees of freedom."""

    mean: Array
    scale: Array
    degrees_of_freedom: Array

    def log_density(self, x):
        z, df = standardized(x, self.mean, self.scale), self.degrees_of_freedom
        return _log_t_at_zero(df) - jnp.log(self.scale) - (df + 1) / 2 * _log_square(z, df)

    def log_tails(self, x):
        z, df = standardized(x, self.mean, self.scale), self.degrees_of_freedom
        z, df = jnp.broadcast_arrays(z, df)
        # The ratio of squares by that of the smaller: neither overflows.
        size = jnp.abs(z) / jnp.sqrt(df)
        root = jnp.finfo(z.dtype).eps ** 0.5
        close, far, remote = size < root, size > 1, size > 1 / root
        apart = jnp.where(close | remote, 0.5, size)
        far = far & ~remote
        ratio = jnp.where(far, 1 / jnp.where(far, apart, 1), jnp.where(far, 1, apart)) ** 2
        small, large = ratio / (1 + ratio), 1 / (1 + ratio)
        near, rest = jnp.where(far, small, large), jnp.where(far, large, small)
        outside, inside = log_beta_tails(df / 2, jnp.full_like(df, 0.5), near, rest)
        tail, other = outside - math.log(2), jnp.log1p(jnp.exp(inside)) - math.log(2)
        # The first term of the series, where squares would overflow.
        out = jnp.log(jnp.where(remote, size, 1))
        out = jnp.minimum(_log_t_at_zero(df) - jnp.log(df) / 2 - df * out, -math.log(2))
        tail, other = jnp.where(remote, out, tail), jnp.where(remote, log_one_minus(out), other)
        # A line, where the root of the square would have no derivative.
        rise = jnp.where(close, z, 0) * jnp.exp(_log_t_at_zero(df))
        below = jnp.where(close, jnp.log(0.5 + rise), jnp.where(z < 0, tail, other))
        return below, jnp.where(close, jnp.log(0.5 - rise), jnp.where(z < 0, other, tail))

    def typical(self):
        return self.mean, self.scale


def normal_tails(z: Array) -> tuple[Array, Array]:
    """Both tails of a standard normal variable."""
    finite = jnp.isfinite(z)
    safe = jnp.where(finite, z, 0)
    below, above = log_survival(-safe), log_survival(safe)
    return (
        jnp.where(finite, below, jnp.where(z < 0, -jnp.inf, 0)),
        jnp.where(finite, above, jnp.where(z < 0, 0, -jnp.inf)),
    )


def _log_t_at_zero(df: Array) -> Array:
    """Log density of a standard t variable at 0."""
    half = df / 2
    # log Gamma(half + 1/2) - log Gamma(half), without the terms that cancel.
    ratio = half * jnp.log1p(1 / df) + jnp.log(half) / 2 - 0.5 + stirling_excess(half + 0.5) - stirling_excess(half)
    return ratio - jnp.log(df * math.pi) / 2


def _log_square(z: Array, df: Array) -> Array:
    """`log(1 + z^2 / df)`, for any size of `z`."""
    large = jnp.abs(z) > 1e8
    inside = jnp.log1p(jnp.where(large, 0, z) ** 2 / df)
    return jnp.where(large, 2 * jnp.log(jnp.where(large, jnp.abs(z), 1)) - jnp.log(df), inside)
