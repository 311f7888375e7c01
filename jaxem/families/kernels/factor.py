"""The kernel of normal columns that depend on a few factors: rows about each member's mean."""

import math
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem.families._columns import Columns
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.kernels import far, linalg, small
from jaxem.kernels.rows import without_weight
from jaxem.latent import GaussianPotentials

_START_FLOOR = 0.1


class FactorParams(NamedTuple):
    """Means `[k, d]`, loadings `[k, d, q]` and variances of the noise: diagonal `[k, d]`, isotropic `[k]`."""

    mean: Float[Array, "k d"]
    loading: Float[Array, "k d q"]
    noise_variance: Array


class FactorNatural(NamedTuple):
    """Coefficients of the log joint density of an observed entry `x` of a column and the factors `z`.

    `constant`, `linear` and `quadratic` belong to 1, `x` and `x^2`; `shift` and `cross` to `z` and `x z`; `precision`
    to `-z z^T / 2`. `prior` is that of the factors.
    """

    constant: Float[Array, "k d"]
    linear: Float[Array, "k d"]
    quadratic: Float[Array, "k d"]
    shift: Float[Array, "k d q"]
    cross: Float[Array, "k d q"]
    precision: Float[Array, "k d q q"]
    prior: GaussianPotentials


@final
class FactorKernel(AbstractKernel):
    """Columns that `frame` standardises; `centred` ones take statistics about each member's mean, the `anchor`.

    In the coordinates of the data rows may be far away, in terms of `unit`, the deviations of the noise.
    """

    family: Any
    frame: Columns | None = None
    centred: bool = eqx.field(static=True, default=False)
    anchor: Float[Array, "k d"] | None = None
    unit: Float[Array, "k d"] | None = None

    # The map

    def natural(self, params: FactorParams) -> FactorNatural:
        mean, loading = params.mean, params.loading
        noise = self.family.by_column(params.noise_variance, mean)
        if self.anchor is not None:
            mean = mean - self.anchor
        scaled = loading / noise[..., None]
        k, q = loading.shape[0], loading.shape[2]
        eye = jnp.broadcast_to(jnp.eye(q, dtype=mean.dtype), (k, q, q))
        normalizer = jnp.full(k, -q / 2 * math.log(2 * math.pi), mean.dtype)
        return FactorNatural(
            -(jnp.log(noise) + mean**2 / noise) / 2,
            mean / noise,
            -1 / (2 * noise),
            -scaled * mean[..., None],
            scaled,
            linalg.outer(scaled, loading),
            GaussianPotentials(normalizer, jnp.zeros((k, q), mean.dtype), eye),
        )

    def potentials(self, natural: FactorNatural, x: Float[Array, "n d"]) -> GaussianPotentials:
        k, d, q = natural.cross.shape
        observed, y, _ = self._brought_near(x)
        pairs = natural.precision.reshape(k, d, q * q)
        ones = _sums(jnp.concatenate([pairs, natural.shift, natural.constant[..., None]], -1), observed)
        linear = _sums(jnp.concatenate([natural.cross, natural.linear[..., None]], -1), y)
        squares = _sums(natural.quadratic[..., None], y**2)[:, 0]
        prior = natural.prior
        constant = ones[:, -1] + linear[:, -1] + squares + prior.constant[:, None]
        information = ones[:, q * q : -1] + linear[:, :q] + prior.linear[:, :, None]
        precision = ones[:, : q * q].reshape(k, q, q, -1) + prior.precision[..., None]
        return GaussianPotentials(constant, jnp.moveaxis(information, -1, 1), jnp.moveaxis(precision, -1, 1))

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        observed = (~jnp.isnan(x)).astype(x.dtype)
        each = jnp.full(x.shape[1:], math.log(2 * math.pi) / 2, x.dtype)
        if self.frame is not None:
            each = each + jnp.log(self.frame.scale)
        base, distant = -linalg.matmul(observed, each[:, None])[:, 0], self._brought_near(x)[2]
        return base if distant is None else jnp.where(distant, -jnp.inf, base)

    def _brought_near(self, x) -> tuple[Array, Array, Any]:
        """`_entries`, and which rows had to be brought near; none in the coordinates of data that hold them."""
        if self.unit is None:
            return *self._entries(x), None
        x, beyond = far.within_squares(x)
        observed, y = self._entries(x)
        near, distant = far.within_reach(y / self.unit[..., None], far.normal_reach(y.dtype))
        return observed, near * self.unit[..., None], beyond | distant

    def _entries(self, x) -> tuple[Array, Array]:
        """Which entries are observed, `[1, d, n]`, and all less the anchor, 0 where missing, `[1 or k, d, n]`."""
        known = ~jnp.isnan(x.T)[None]
        y = self.framed(jnp.where(jnp.isnan(x), jnp.zeros_like(x), x)).T[None]
        if self.anchor is not None:
            y = y - self.anchor[..., None]
        return known.astype(x.dtype), jnp.where(known, y, jnp.zeros_like(y))

    # The factors of given rows

    def factors(self, params: FactorParams, x: Float[Array, "n d"]) -> tuple[Array, Array]:
        """Posterior mean `[k, n, q]` and covariance `[k, n, q, q]` of the factors under each member."""
        mean, covariance, _ = self.family.latent.posterior(self._potentials_at(params, x))
        return mean, covariance

    def fitted(self, params: FactorParams, z: Float[Array, "k n q"]) -> Float[Array, "k n d"]:
        """`mean + loading z`."""
        return params.mean[:, None] + linalg.matmul(z, linalg.transpose(params.loading))

    def impute(
        self, params: FactorParams, x: Float[Array, "n d"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "k n d"]:
        """Rows completed under each member: by posterior means, or by a draw if there is a `key`."""
        if key is None:
            filled = self.family.fitted(params, self.factors(params, x)[0])
        else:
            keys = jax.random.split(key)
            filled = self.family.fitted(params, self.family.latent.draw(keys[0], self._potentials_at(params, x)))
            scale = jnp.sqrt(self.family.by_column(params.noise_variance, params.mean))[:, None]
            filled = filled + scale * jax.random.normal(keys[1], filled.shape, filled.dtype)
        return jnp.where(jnp.isnan(x)[None], filled, x[None])

    def _potentials_at(self, params, x):
        here = FactorKernel(self.family, self.frame, True).about(params).anywhere()
        return here.potentials(here.natural(params), x)

    # The maximum

    def maximize(self, stats: FactorNatural, params: FactorParams, frozen: tuple[str, ...] = ()) -> FactorParams:
        location = jnp.zeros_like(params.mean) if self.anchor is None else self.anchor
        counts, total, squares = stats.constant, stats.linear, stats.quadratic
        empty = without_weight(stats.prior.constant)[:, None] | (
            counts <= 10 * jnp.finfo(counts.dtype).eps * stats.prior.constant[:, None]
        )
        n = jnp.where(empty, 1, counts)
        second = -2 * linalg.symmetrize(stats.precision)
        mean, loading = params.mean - location, params.loading
        # The regression of a column on the factors and 1.
        if "loading" in frozen:
            if "mean" not in frozen:
                mean = (total - jnp.sum(loading * stats.shift, -1)) / n
        elif "mean" in frozen:
            loading = _solve(second, stats.cross - mean[..., None] * stats.shift, empty)
        else:
            centre = stats.shift / n[..., None]
            about = second - linalg.outer(centre, stats.shift)
            loading = _solve(about, stats.cross - centre * total[..., None], empty)
            mean = total / n - jnp.sum(loading * centre, -1)
        mean = jnp.where(empty, params.mean, location + mean)
        loading = jnp.where(empty[..., None], params.loading, loading)
        if "noise_variance" in frozen:
            return FactorParams(mean, loading, params.noise_variance)
        offset = mean - location
        explained = jnp.sum(loading * (stats.cross - offset[..., None] * stats.shift), -1)
        fitted = jnp.sum(loading * linalg.matmul(second, loading[..., None])[..., 0], -1)
        rest = squares - 2 * offset * total + offset**2 * counts - 2 * explained + fitted
        spread = jnp.maximum(squares - total**2 / n, 0)
        if self.family.noise == "isotropic":
            bare = jnp.all(empty, -1)
            rest, spread, counts = (jnp.sum(jnp.where(empty, 0, a), -1) for a in (rest, spread, counts))
            empty, n = bare, jnp.where(bare, 1, counts)
        eps = jnp.finfo(rest.dtype).eps
        noise = jnp.maximum(rest, jnp.maximum(self.family.least * spread, eps * n)) / n
        return FactorParams(mean, loading, jnp.where(empty, params.noise_variance, noise))

    def maximize_expanded(
        self, stats: FactorNatural, params: FactorParams, frozen: tuple[str, ...] = ()
    ) -> FactorParams:
        """The M-step with free mean and covariance of the factors, which loadings and means then take up.

        Parameter-expanded EM: Liu, Rubin and Wu (1998).
        """
        mean, loading, noise = self.maximize(stats, params, frozen)
        if "loading" in frozen:
            return FactorParams(mean, loading, noise)
        count = stats.prior.constant
        empty = without_weight(count)
        n = jnp.where(empty, 1, count)[:, None]
        centre = jnp.zeros_like(stats.prior.linear) if "mean" in frozen else stats.prior.linear / n
        covariance = -2 * linalg.symmetrize(stats.prior.precision) / n[..., None] - linalg.outer(centre, centre)
        expanded = linalg.matmul(loading, linalg.cholesky(covariance))
        moved = mean + linalg.matmul(loading, centre[..., None])[..., 0]
        return FactorParams(
            jnp.where(empty[:, None], mean, moved), jnp.where(empty[:, None, None], loading, expanded), noise
        )

    # Coordinates

    def encode(self, params):
        if self.frame is None:
            return params
        shift, scale = self.frame
        return self._rescaled(params._replace(mean=params.mean - shift[None]), 1 / scale)

    def decode(self, params):
        if self.frame is None:
            return params
        shift, scale = self.frame
        params = self._rescaled(params, scale)
        return params._replace(mean=params.mean + shift[None])

    def _rescaled(self, params, scale):
        noise = params.noise_variance * (scale[None] ** 2 if self.family.noise == "diagonal" else scale[:1] ** 2)
        return FactorParams(params.mean * scale[None], params.loading * scale[None, :, None], noise)

    def framed(self, x):
        return x if self.frame is None else self.frame.standardize(x)

    # Accuracy

    def accurate(self):
        return None if self.centred else FactorKernel(self.family, self.frame, True)

    def about(self, params):
        if not self.centred:
            return self
        mean, noise = jax.lax.stop_gradient((params.mean, params.noise_variance))
        unit = None if self.frame is not None else jnp.sqrt(self.family.by_column(noise, mean))
        return FactorKernel(self.family, self.frame, True, mean, unit)

    def anywhere(self) -> "FactorKernel":
        """This kernel for rows as far away as they may be."""
        return FactorKernel(self.family, self.frame, self.centred, self.anchor)

    def translate(self, stats, source):
        if self.anchor is None:
            return stats
        move, counts = source.anchor - self.anchor, stats.constant
        return stats._replace(
            linear=stats.linear + counts * move,
            quadratic=stats.quadratic + move * (2 * stats.linear + counts * move),
            cross=stats.cross + move[..., None] * stats.shift,
        )

    def rounding_error(self, params, natural=None):
        """Relative rounding error of the noise variances, from the terms that cancel."""
        noise = self.family.by_column(params.noise_variance, params.mean)
        terms = jnp.sum(params.loading**2, -1) + noise
        if not self.centred:
            terms = terms + params.mean**2
        if self.family.noise == "isotropic":
            terms, noise = jnp.mean(terms, -1), params.noise_variance
        return jnp.finfo(noise.dtype).eps * jnp.max(terms / noise)

    def degenerate(self, params):
        return jnp.any(self.family.at_floor(params))

    def floats_per_row(self, params):
        k, d, q = params.loading.shape
        return 3 * d, k * (d * self.centred * 2 + 3 * (q * q + q + 1))

    # Starts

    def from_points(self, points, x, weights):
        """Means at the points; the leading principal components of the data, common to all members."""
        k, q = points.shape[0], self.family.num_factors
        (observed, y), (_, here) = self._plain_entries(x), self._plain_entries(points)
        share = observed * weights[None]
        count = jnp.sum(share, -1)
        count = jnp.where(count > 0, count, 1)
        centre = jnp.sum(share * y, -1) / count
        y = observed * (y - centre[:, None])
        pairs = linalg.matmul(share, observed.T)
        covariance = linalg.matmul(y * weights[None], y.T) / jnp.where(pairs > 0, pairs, 1)
        variance = jnp.diagonal(covariance)
        variance = jnp.where(variance > 0, variance, 1)
        basis = _range(covariance, q)
        inside = linalg.matmul(basis.T, linalg.matmul(covariance, basis))
        noise = jnp.maximum(jnp.mean(variance) - jnp.trace(inside) / variance.shape[0], 0)
        loading = linalg.matmul(basis, _root(linalg.symmetrize(inside)))
        noise = jnp.maximum(variance - jnp.sum(loading**2, -1), _START_FLOOR * variance)
        if self.family.noise == "isotropic":
            noise = jnp.mean(noise)
        mean = jnp.where(jnp.isnan(points), centre[None], here.T)
        return FactorParams(
            mean, jnp.broadcast_to(loading, (k, *loading.shape)), jnp.broadcast_to(noise, (k, *noise.shape))
        )

    def embed(self, x, weights=None):
        return self._plain_entries(x)[1].T

    def _plain_entries(self, x):
        observed, y = FactorKernel(self.family, self.frame)._entries(x)
        return observed[0], y[0]


def _sums(coefficients: Float[Array, "k d r"], features: Float[Array, "m d n"]) -> Float[Array, "k r n"]:
    """Sums over columns, of features that all members share (`m = 1`) or of each member's own (`m = k`)."""
    k, d, r = coefficients.shape
    rows = linalg.transpose(coefficients)
    if features.shape[0] == 1:
        return linalg.matmul(rows.reshape(k * r, d), features[0]).reshape(k, r, -1)
    return linalg.matmul(rows, features)


def _solve(a: Float[Array, "k d q q"], b: Float[Array, "k d q"], empty: Float[Array, "k d"]) -> Array:
    """`a^-1 b`; anything where `empty`."""
    q = a.shape[-1]
    eye = jnp.broadcast_to(jnp.eye(q, dtype=a.dtype), a.shape)
    a = jnp.where(empty[..., None, None], eye, a)
    if q <= small.SMALL:
        return jnp.moveaxis(small.sweep(jnp.moveaxis(a, (-2, -1), (0, 1)), jnp.moveaxis(b, -1, 0))[1], 0, -1)
    inverse = linalg.inverse_lower(linalg.cholesky(a))
    return linalg.matmul(linalg.transpose(inverse), linalg.matmul(inverse, b[..., None]))[..., 0]


def _range(a: Float[Array, "d d"], q: int) -> Float[Array, "d q"]:
    """An orthonormal basis near the leading `q` eigenvectors, by subspace iteration from fixed random vectors."""
    basis = jnp.asarray(np.random.default_rng(0).standard_normal((a.shape[0], q)), a.dtype)
    for _ in range(4):
        basis = linalg.matmul(a, basis)
        basis = basis / jnp.sqrt(jnp.sum(basis**2, 0, keepdims=True) + jnp.finfo(a.dtype).tiny)
        basis = linalg.matmul(basis, linalg.transpose(linalg.inverse_lower(_root(linalg.matmul(basis.T, basis)))))
    return basis


def _root(a: Float[Array, "q q"]) -> Float[Array, "q q"]:
    """The Cholesky factor of a matrix that may lack some rank."""
    q = a.shape[0]
    ridge = jnp.sqrt(jnp.finfo(a.dtype).eps) * (jnp.trace(a) / q + jnp.finfo(a.dtype).tiny)
    return linalg.cholesky(a + ridge * jnp.eye(q, dtype=a.dtype))
