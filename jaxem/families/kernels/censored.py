"""The kernels of censored normal values and responses: those of known ones, with what is hidden of each row."""

from typing import Any, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families.intervals import Interval, as_columns
from jaxem.families.kernels.gaussian import GaussianKernel, GaussianNatural
from jaxem.families.kernels.regression import RegressionKernel, RegressionNatural, RegressionParams
from jaxem.families.kernels.wrapped import AbstractWrappedKernel
from jaxem.families.responses import Responses
from jaxem.kernels import linalg
from jaxem.kernels.rows import without_weight
from jaxem.latent import TruncatedNormalPotentials
from jaxem.latent.truncated import moving_bounds


@final
class CensoredKernel(AbstractWrappedKernel):
    """Values known by intervals, in the coordinates of the kernel `base` of known ones.

    `family` says which intervals the normal values lie in, and the Jacobian of what is observed.
    """

    family: Any
    base: GaussianKernel

    def potentials(self, natural: GaussianNatural, x: Interval) -> TruncatedNormalPotentials:
        base, x = self.base, self.family.normal(x)
        k, d = natural.linear.shape
        linear, precision = natural.linear, jnp.broadcast_to(-2 * natural.quadratic.reshape(k, -1), (k, d))
        position = base.framed(x.reference)[None]
        width = x.width if base.frame is None else x.width / base.frame.scale[None]
        if base.anchor is not None:
            factor = jnp.broadcast_to(base.anchor.factor.reshape(k, -1), (k, d))
            linear, precision = linear / factor, precision / factor**2
            position = position - base.anchor.location[:, None]
        constant = jnp.broadcast_to((natural.log_det + natural.offset)[:, None], (k, position.shape[1]))
        return truncated(constant, linear[:, None], precision[:, None], position, width[None], x)

    def log_base(self, x: Any) -> Float[Array, " n"]:
        base = self.base.log_constant(x.lower.reshape(x.lower.shape[0], -1)) + self.family.log_jacobian(x)
        if self.base.frame is None:
            return base
        # Hidden values are integrated over in the coordinates of the loop.
        hidden = ~as_columns(x).is_exact
        return base + jnp.sum(jnp.where(hidden, jnp.log(self.base.frame.scale)[None], 0), -1)

    def from_points(self, points: Any, x: Any, weights):
        return self.base.from_points(self.family.normal(points).point, self.family.normal(x).point, weights)

    def embed(self, x: Any, weights=None):
        return self.base.embed(self.family.normal(x).point)

    def floats_per_row(self, params):
        k, d = params.mean.shape
        return 2 * d, 12 * k * d


@final
class CensoredRegressionKernel(AbstractWrappedKernel):
    """Responses known by intervals, in the coordinates of the kernel `base` of known ones."""

    family: Any
    base: RegressionKernel

    def potentials(self, natural: RegressionNatural, x: Responses) -> TruncatedNormalPotentials:
        base, y = self.base, self.family.responses(x.y)
        covariates, position = base.residuals(Responses(x.x, y.reference), natural.linear)
        anchor = base.anchor
        deviation = jnp.sqrt(jnp.ones_like(natural.log_det) if anchor is None else anchor.variance)[:, None]
        constant = natural.log_det[:, None] + linalg.matmul(
            linalg.pack_symmetric(natural.quadratic), linalg.products(covariates)
        )
        linear = linalg.matmul(natural.linear, covariates) / deviation
        precision = -2 * natural.squared[:, None] / deviation**2
        width = (y.width / base.here(x).scale)[None]
        return truncated(constant, linear, precision, position * deviation, width, y)

    def log_base(self, x: Any) -> Float[Array, " n"]:
        y = self.family.responses(x.y)
        base = self.base.log_constant(Responses(x.x, y.reference))
        # Hidden responses are integrated over in the coordinates of the loop.
        return base + jnp.where(y.is_exact, 0, jnp.log(self.base.here(x).scale))

    def maximize(self, stats: RegressionNatural, params: RegressionParams, frozen: tuple[str, ...] = ()):
        found = self.base.maximize(stats, params, frozen)
        if self.family.scale_power == 0 or "variance" in frozen:
            return found
        counts = stats.log_det
        empty = without_weight(counts)
        shrunk = found.variance * jnp.where(empty, 1, counts / (counts + self.family.scale_power))
        return found._replace(variance=jnp.maximum(shrunk, self.base.family.floor))

    def log_prior(self, params):
        params = self.base.decode(params)
        return -self.family.scale_power / 2 * jnp.sum(jnp.log(params.variance))

    def from_points(self, points, x, weights):
        return self.base.from_points(self.family.points(points), self.family.points(x), weights)

    def embed(self, x, weights=None):
        return self.base.embed(self.family.points(x))

    def floats_per_row(self, params):
        shared, own = self.base.floats_per_row(params)
        return shared + 2, own + 10 * params.coefficients.shape[0]


def truncated(
    constant: Array, linear: Array, precision: Array, position: Array, width: Array, x: Interval
) -> TruncatedNormalPotentials:
    """Log densities `constant + linear t - precision t^2 / 2` of each row, as potentials of the values that are hidden.

    `x` has the shape of the last axes of `position`, where its `reference` is in the coordinates of `t`; `width` is in
    those too. Axes beyond those of `constant` are of several values.
    """
    shape = jnp.broadcast_shapes(position.shape, linear.shape)
    linear, precision, position, width = (
        jnp.broadcast_to(leaf, shape) for leaf in (linear, precision, position, width)
    )
    lead = (1,) * (len(shape) - x.lower.ndim)
    exact, below, above = (
        jnp.broadcast_to(flag.reshape(lead + flag.shape), shape)
        for flag in (x.is_exact, jnp.isfinite(x.lower), jnp.isfinite(x.upper))
    )
    density = jnp.where(exact, position * (linear - precision * position / 2), 0)
    end = position + width
    found = TruncatedNormalPotentials(
        constant + jnp.sum(density, tuple(range(constant.ndim, density.ndim))),
        jnp.where(exact, 0, linear),
        jnp.where(exact, 0, precision),
        jnp.where(exact, 0, jnp.where(below, precision * position - linear, -jnp.inf)),
        jnp.where(exact, 0, jnp.where(above, linear - precision * end, -jnp.inf)),
        jnp.where(exact, 0, precision * width),
    )
    moved = moving_bounds(found, jnp.where(below, position, -jnp.inf), jnp.where(above, end, jnp.inf))
    return found._replace(constant=found.constant + jnp.sum(moved, tuple(range(constant.ndim, moved.ndim))))
