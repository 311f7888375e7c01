import math
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem import _bijections as bijections
from jaxem._errors import DataError
from jaxem.families._columns import Columns
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_gaps, check_incomplete
from jaxem.kernels import far, linalg, small
from jaxem.kernels.chunks import not_finite
from jaxem.latent import GaussianLatent, GaussianPotentials

_FLOORS = {"diagonal": 0.005, "isotropic": 1e-8}
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
class Factor(AbstractFamily):
    """Normal columns that depend on each other through a few factors: `x = mean + loading z + noise`.

    The factors `z` are `num_factors` independent standard normals for each row. Entries of `x` that are NaN are
    missing at random; the others are used exactly, each row with the columns that it has, and a row without any counts
    for nothing.

    **Arguments:**

    - `num_factors`: how many factors, `q`; fewer than columns.
    - `noise`: `"diagonal"`, a variance `[k, d]` for each column (factor analysis), or `"isotropic"`, one `[k]` for all
        of a member (probabilistic principal components).
    - `floor`: the variance of the noise is at least this fraction of the variance of the column in the member (of its
        mean over columns if isotropic). By default 0.005 if diagonal (the lower bound of Joreskog 1967), for columns
        that the factors explain wholly are an artefact (Heywood 1931), and 1e-8 if isotropic. A fit that ends at the
        floor has status `degenerate_component`.

    The likelihood determines the loadings up to a rotation of the factors: see `canonical` and `varimax`
    in `jaxem.models.factor_analysis`. The number of parameters does not count rotations.

    Rubin and Thayer (1982); Tipping and Bishop (1999).

    **Example**

    >>> import jaxem
    >>> jaxem.Mixture(jaxem.Factor(num_factors=2), num_components=3).family.parameters
    ('mean', 'loading', 'noise_variance')
    """

    num_factors: int = eqx.field(static=True)
    noise: str = eqx.field(static=True, default="diagonal")
    floor: float | None = eqx.field(static=True, default=None)
    _frame: Columns | None = None
    _anchor: Float[Array, "k d"] | None = None
    _anchored: bool = eqx.field(static=True, default=False)
    _unit: Float[Array, "k d"] | None = None  # beside an anchor: in what rows may be far away

    parameters: ClassVar[tuple[str, ...]] = ("mean", "loading", "noise_variance")

    def __check_init__(self):
        if not isinstance(self.num_factors, int | np.integer) or self.num_factors < 1:
            raise ValueError(f"num_factors must be a positive integer, got {self.num_factors!r}")
        if self.noise not in _FLOORS:
            raise ValueError(f"noise must be one of {', '.join(_FLOORS)}, got {self.noise!r}")
        if not 0 <= self.least < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    @property
    def least(self) -> float:
        """The floor, or its default."""
        return _FLOORS[self.noise] if self.floor is None else self.floor

    @property
    def latent(self) -> GaussianLatent:
        return GaussianLatent()

    def _with(self, frame, anchor=None, anchored=False, unit=None) -> "Factor":
        return Factor(self.num_factors, self.noise, self.floor, frame, anchor, anchored, unit)

    # The linear map

    def natural(self, params: FactorParams) -> FactorNatural:
        mean, loading = params.mean, params.loading
        noise = self._columns(params.noise_variance, mean)
        if self._anchor is not None:
            mean = mean - self._anchor
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
        if self._frame is not None:
            each = each + jnp.log(self._frame.scale)
        base, distant = -linalg.matmul(observed, each[:, None])[:, 0], self._brought_near(x)[2]
        return base if distant is None else jnp.where(distant, -jnp.inf, base)

    def _brought_near(self, x) -> tuple[Array, Array, Any]:
        """`_entries`, and which rows had to be brought near; none in the coordinates of data that hold them."""
        if self._unit is None:
            return *self._entries(x), None
        x, beyond = far.within_squares(x)
        observed, y = self._entries(x)
        near, distant = far.within_reach(y / self._unit[..., None], far.normal_reach(y.dtype))
        return observed, near * self._unit[..., None], beyond | distant

    def _entries(self, x) -> tuple[Array, Array]:
        """Which entries are observed, `[1, d, n]`, and all less the anchor, 0 where missing, `[1 or k, d, n]`."""
        known = ~jnp.isnan(x.T)[None]
        y = self._framed(jnp.where(jnp.isnan(x), jnp.zeros_like(x), x)).T[None]
        if self._anchor is not None:
            y = y - self._anchor[..., None]
        return known.astype(x.dtype), jnp.where(known, y, jnp.zeros_like(y))

    def _columns(self, noise, like):
        return noise if self.noise == "diagonal" else jnp.broadcast_to(noise[:, None], like.shape)

    # The factors of given rows

    def factors(self, params: FactorParams, x: Float[Array, "n d"]) -> tuple[Array, Array]:
        """Posterior mean `[k, n, q]` and covariance `[k, n, q, q]` of the factors under each member."""
        mean, covariance, _ = self.latent.posterior(self._potentials_at(params, x))
        return mean, covariance

    def fitted(self, params: FactorParams, z: Float[Array, "k n q"]) -> Float[Array, "k n d"]:
        """`mean + loading z`."""
        return params.mean[:, None] + linalg.matmul(z, linalg.transpose(params.loading))

    def impute(
        self, params: FactorParams, x: Float[Array, "n d"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "k n d"]:
        """Rows completed under each member: by posterior means, or by a draw if there is a `key`."""
        if key is None:
            filled = self.fitted(params, self.factors(params, x)[0])
        else:
            keys = jax.random.split(key)
            filled = self.fitted(params, self.latent.draw(keys[0], self._potentials_at(params, x)))
            scale = jnp.sqrt(self._columns(params.noise_variance, params.mean))[:, None]
            filled = filled + scale * jax.random.normal(keys[1], filled.shape, filled.dtype)
        return jnp.where(jnp.isnan(x)[None], filled, x[None])

    def _potentials_at(self, params, x):
        family = (self.accurate() or self).at(params)
        family = family._with(family._frame, family._anchor, True)
        return family.potentials(family.natural(params), x)

    # The M-step

    def maximize(self, stats: FactorNatural, params: FactorParams, frozen: tuple[str, ...] = ()) -> FactorParams:
        location = jnp.zeros_like(params.mean) if self._anchor is None else self._anchor
        counts, total, squares = stats.constant, stats.linear, stats.quadratic
        empty = self.empty(stats.prior.constant)[:, None] | (
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
        if self.noise == "isotropic":
            bare = jnp.all(empty, -1)
            rest, spread, counts = (jnp.sum(jnp.where(empty, 0, a), -1) for a in (rest, spread, counts))
            empty, n = bare, jnp.where(bare, 1, counts)
        eps = jnp.finfo(rest.dtype).eps
        noise = jnp.maximum(rest, jnp.maximum(self.least * spread, eps * n)) / n
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
        empty = self.empty(count)
        n = jnp.where(empty, 1, count)[:, None]
        centre = jnp.zeros_like(stats.prior.linear) if "mean" in frozen else stats.prior.linear / n
        covariance = -2 * linalg.symmetrize(stats.prior.precision) / n[..., None] - linalg.outer(centre, centre)
        expanded = linalg.matmul(loading, linalg.cholesky(covariance))
        moved = mean + linalg.matmul(loading, centre[..., None])[..., 0]
        return FactorParams(
            jnp.where(empty[:, None], mean, moved), jnp.where(empty[:, None, None], loading, expanded), noise
        )

    # Coordinates

    def unconstrain(self, params: FactorParams) -> FactorParams:
        return params._replace(noise_variance=bijections.positive_to_free(params.noise_variance))

    def constrain(self, free: FactorParams) -> FactorParams:
        return free._replace(noise_variance=bijections.free_to_positive(free.noise_variance))

    def redundant(self, params: FactorParams, frozen: tuple[str, ...] = ()) -> int:
        k, _, q = params.loading.shape
        return 0 if "loading" in frozen else k * q * (q - 1) // 2

    def bind(self, x, weights, reduce):
        return self._with(Columns.of(x, weights, reduce, self.noise == "isotropic"), None, self._anchored)

    def encode(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        return self._rescaled(params._replace(mean=params.mean - shift[None]), 1 / scale)

    def decode(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        params = self._rescaled(params, scale)
        return params._replace(mean=params.mean + shift[None])

    def _rescaled(self, params, scale):
        noise = params.noise_variance * (scale[None] ** 2 if self.noise == "diagonal" else scale[:1] ** 2)
        return FactorParams(params.mean * scale[None], params.loading * scale[None, :, None], noise)

    def _framed(self, x):
        return x if self._frame is None else self._frame.standardize(x)

    # Accuracy

    def accurate(self):
        return None if self._anchored else self._with(self._frame, None, True)

    def at(self, params):
        if not self._anchored:
            return self
        mean, noise = jax.lax.stop_gradient((params.mean, params.noise_variance))
        unit = None if self._frame is not None else jnp.sqrt(self._columns(noise, mean))
        return self._with(self._frame, mean, True, unit)

    def translate(self, stats, source):
        if self._anchor is None:
            return stats
        move, counts = source._anchor - self._anchor, stats.constant
        return stats._replace(
            linear=stats.linear + counts * move,
            quadratic=stats.quadratic + move * (2 * stats.linear + counts * move),
            cross=stats.cross + move[..., None] * stats.shift,
        )

    def loss(self, params, natural=None):
        """Relative rounding error of the noise variances, from the terms that cancel."""
        noise = self._columns(params.noise_variance, params.mean)
        terms = jnp.sum(params.loading**2, -1) + noise
        if not self._anchored:
            terms = terms + params.mean**2
        if self.noise == "isotropic":
            terms, noise = jnp.mean(terms, -1), params.noise_variance
        return jnp.finfo(noise.dtype).eps * jnp.max(terms / noise)

    def degenerate(self, params):
        return jnp.any(self._at_floor(params))

    def _at_floor(self, params):
        """Noise that is no more than a hair above its floor, given the model's variance for the sample's."""
        signal, noise = jnp.sum(params.loading**2, -1), params.noise_variance
        if self.noise == "isotropic":
            signal = jnp.mean(signal, -1)
        least = max(self.least, 10 * float(jnp.finfo(noise.dtype).eps))
        return noise <= 1.1 * least * (signal + noise)

    # Data

    def from_points(self, points, x, weights):
        """Means at the points; the leading principal components of the data, common to all members."""
        k, q = points.shape[0], self.num_factors
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
        if self.noise == "isotropic":
            noise = jnp.mean(noise)
        mean = jnp.where(jnp.isnan(points), centre[None], here.T)
        return FactorParams(
            mean, jnp.broadcast_to(loading, (k, *loading.shape)), jnp.broadcast_to(noise, (k, *noise.shape))
        )

    def mend(self, params, pooled, counts):
        poor = self._at_floor(params) | jnp.isnan(params.noise_variance)
        poor = (jnp.any(poor, -1) if self.noise == "diagonal" else poor) | (counts <= self.num_factors + 1)
        choose = lambda a, b: jnp.where(poor.reshape(-1, *[1] * (a.ndim - 1)), b, a)  # noqa: E731
        return params._replace(
            loading=choose(params.loading, pooled.loading),
            noise_variance=choose(params.noise_variance, pooled.noise_variance),
        )

    def embed(self, x):
        return self._plain_entries(x)[1].T

    def _plain_entries(self, x):
        observed, y = self._with(self._frame)._entries(x)
        return observed[0], y[0]

    def sample(self, key: PRNGKeyArray, params: FactorParams, labels: Array) -> Array:
        keys = jax.random.split(key)
        mean, loading = params.mean[labels], params.loading[labels]
        noise = self._columns(params.noise_variance, params.mean)[labels]
        z = jax.random.normal(keys[0], (*mean.shape[:1], loading.shape[-1]), mean.dtype)
        apart = jnp.sqrt(noise) * jax.random.normal(keys[1], mean.shape, mean.dtype)
        return mean + jnp.sum(loading * z[:, None], -1) + apart

    @property
    def domains(self):
        return {"noise_variance": "positive"}

    def width(self, params):
        return params.mean.shape[1]

    def unusable(self, x):
        return not_finite(x, missing=True)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_gaps(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        x = check_incomplete(x, name)
        if self.num_factors >= x.shape[1]:
            raise DataError(
                f"{name} has {x.shape[1]} columns, too few for num_factors={self.num_factors}: "
                "there must be fewer factors than columns"
            )
        if self.noise == "isotropic":
            return
        for column in np.flatnonzero(np.ptp(x, axis=0) == 0)[:1]:
            raise DataError(
                f"{name}: column {column} is constant (value {float(x[0, column])!r}), so its noise variance has no "
                "maximum-likelihood estimate; drop the column"
            )

    def floats_per_row(self, params):
        k, d, q = params.loading.shape
        return 3 * d, k * (d * self._anchored * 2 + 3 * (q * q + q + 1))


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
