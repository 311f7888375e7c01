import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxem._errors import DataError, MissingCapabilityError
from jaxem._model import inner
from jaxem.families._columns import Columns
from jaxem.families._family import AbstractFamily
from jaxem.families._table import check_table
from jaxem.families.covariance import (
    STRUCTURES,
    AbstractCovariance,
    AbstractVariances,
    structure_name,
    structure_names,
)
from jaxem.families.priors import NormalInverseWishart
from jaxem.kernels import far, linalg


class GaussianParams(NamedTuple):
    """Means `[k, d]` and covariances: full and VEV `[k, d, d]`, tied `[d, d]`, diagonal `[k, d]`, spherical `[k]`."""

    mean: Float[Array, "k d"]
    covariance: Array


class GaussianNatural(NamedTuple):
    """Coefficients of the log density: of the two constants, of `x`, and of `x x^T`."""

    log_det: Float[Array, " k"]
    offset: Float[Array, " k"]
    linear: Float[Array, "k d"]
    quadratic: Array


class _Anchor(NamedTuple):
    """Each member's statistics are taken in coordinates that it whitens: `factor^-1 (x - location)`."""

    location: Float[Array, "k d"]
    factor: Array


@final
class Gaussian(AbstractFamily):
    """Multivariate normal distributions with a choice of covariance structure.

    **Arguments:**

    - `covariance`: `"full"` `[k, d, d]`, `"tied"` (one for all members) `[d, d]`, `"diagonal"` `[k, d]`,
        `"spherical"` `[k]`, or `"VEV"` `[k, d, d]`: variable volume, equal shape, variable orientation, in mclust's
        letters. `covariance[j] = volume[j] * orientation[j] @ shape @ orientation[j].T` with one diagonal `shape` of
        determinant 1, so that all ellipsoids have axes of the same ratios (Celeux and Govaert 1995). `"diag"`, and
        mclust's `"VVV"`, `"EEE"`, `"VVI"`, `"VII"`, are other names of full, tied, diagonal and spherical ones.
    - `prior`: a `NormalInverseWishart` on mean and covariance. For `"VEV"` its density penalises each covariance as for
        `"full"`, which serves posterior modes; there is no posterior of that kind.
    - `floor`: no eigenvalue of a covariance falls below this fraction of the variance of the data (column by column;
        of their mean variance if spherical or VEV), nor below what the precision resolves. The M-step is the exact
        maximum under that constraint, so EM stays monotone. A fit that ends at the floor has status
        `degenerate_component`.

    VEV covariances that are given and do not have equal shapes start from the nearest that have. The fit depends on the
    units of the columns, as that of spherical ones does.

    The product form of the statistics (two matrix products) is used where it is accurate, and statistics centred on
    each member and whitened by it where it is not.

    **Example**

    >>> import jax.numpy as jnp, jaxem
    >>> covariance = jnp.stack([jnp.diag(jnp.array([4.0, 1.0])), jnp.diag(jnp.array([0.5, 2.0]))])
    >>> components = jaxem.families.GaussianParams(jnp.zeros((2, 2)), covariance)
    >>> params = jaxem.models.MixtureParams(jnp.array([0.4, 0.6]), components)
    >>> [jaxem.Mixture(jaxem.Gaussian(name), 2).num_parameters(params) for name in ("full", "VEV")]
    [11, 10]
    """

    covariance: str = eqx.field(static=True, default="full", converter=structure_name)
    prior: NormalInverseWishart | None = None
    floor: float = eqx.field(static=True, default=1e-12)
    _frame: Columns | None = None
    _anchor: _Anchor | None = None
    _anchored: bool = eqx.field(static=True, default=False)
    _heavy: bool = eqx.field(static=True, default=False)  # squares alone count, as under the tails of a Student t

    parameters: ClassVar[tuple[str, ...]] = ("mean", "covariance")
    conjugate: ClassVar[str] = "Gaussian(..., prior=NormalInverseWishart(...))"

    def __check_init__(self):
        if self.covariance not in STRUCTURES:
            raise DataError(f"covariance must be one of {structure_names()}, got {self.covariance!r}")
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    @property
    def _structure(self) -> AbstractCovariance:
        return STRUCTURES[self.covariance]()

    @property
    def shared(self) -> tuple[str, ...]:
        return ("covariance",) if self._structure.shared else ()

    @property
    def coupled(self) -> bool:
        return self._structure.shared or self._structure.coupled

    @property
    def product_form(self) -> bool:
        return self._anchor is None and not self._structure.shared

    # The linear map

    def natural(self, params: GaussianParams) -> GaussianNatural:
        s, (mean, covariance) = self._structure, params
        k, d = mean.shape
        factor = s.factor(covariance)
        if self._anchor is not None:
            mean = s.whiten(self._anchor.factor, (mean - self._anchor.location)[..., None])[..., 0]
        precision = s.precision(factor, None if self._anchor is None else self._anchor.factor)
        linear = s.apply(precision, mean)
        log_det = jnp.broadcast_to(-s.half_log_det(factor, d), (k,))
        return GaussianNatural(log_det, -jnp.sum(mean * linear, -1) / 2, linear, -precision / 2)

    def coefficients(self, natural: GaussianNatural) -> Float[Array, "k p"]:
        constant = (natural.log_det + natural.offset)[:, None]
        quadratic = self._structure.pack(natural.quadratic)
        quadratic = jnp.broadcast_to(quadratic, (constant.shape[0], quadratic.shape[-1]))
        return jnp.concatenate([constant, natural.linear, quadratic], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        return self._structure.design(self._framed(x).T)

    def prepare(self, natural):
        return self.as_rows(natural)

    def potentials(self, natural: GaussianNatural, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
        s = self._structure
        if self._anchor is not None:
            y = self._whitened(x)[0]
            return (natural.log_det + natural.offset)[:, None] + s.form(natural.quadratic, natural.linear, y)
        if s.shared:
            # The quadratic term is common to all members: one row of coefficients instead of k.
            x = self._framed(x).T
            constant = natural.log_det + natural.offset
            common = linalg.matmul(s.pack(natural.quadratic)[None], s.square(x))
            return constant[:, None] + linalg.matmul(natural.linear, x) + common
        return super().potentials(natural, x)

    def add_constant(self, natural: GaussianNatural, constant: Float[Array, " k"]) -> GaussianNatural:
        return natural._replace(log_det=natural.log_det + constant)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        brought_near = None if self._anchor is None else self._whitened(x)[1]
        base = self.log_constant(x)
        return base if brought_near is None else jnp.where(brought_near, -jnp.inf, base)

    def log_constant(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """`log_base` of rows as far away as they may be."""
        d = x.shape[1]
        constant = -d / 2 * math.log(2 * math.pi)
        jacobian = 0 if self._frame is None else jnp.sum(jnp.log(self._frame.scale))
        return jnp.full(x.shape[0], constant - jacobian, x.dtype)

    def _whitened(self, x: Float[Array, "n d"]) -> tuple[Float[Array, "k d n"], Any]:
        """Rows in the coordinates of each member's anchor, and which of them have been brought near.

        None in the coordinates of data that hold them.
        """
        assert self._anchor is not None
        location, factor = self._anchor
        if self._frame is not None:
            return self._structure.whiten(factor, self._framed(x).T[None] - location[:, :, None]), None
        x, beyond = far.within_squares(x)
        y = self._structure.whiten(factor, x.T[None] - location[:, :, None])
        reach = far.square_reach(x.dtype) if self._heavy else far.normal_reach(x.dtype)
        y, distant = far.within_reach(y, reach)
        return y, beyond | distant

    # The M-step

    def maximize(self, stats: GaussianNatural, params: GaussianParams, frozen: tuple[str, ...] = ()) -> GaussianParams:
        s = self._structure
        k, d = params.mean.shape
        location = self._anchor.location if self._anchor is not None else jnp.zeros_like(params.mean)
        counts, centre_counts, total, scatter = stats
        if self._anchor is not None:
            total, scatter = s.colour(self._anchor.factor, total), s.congruence(self._anchor.factor, scatter)
        empty = self.empty(counts)
        if self.prior is not None:
            prior = self._prior_stats(location, k)
            counts, centre_counts = counts + prior.log_det, centre_counts + prior.offset
            total, scatter = total + prior.linear, scatter + prior.quadratic
            empty = jnp.zeros_like(empty)
        safe = jnp.where(empty, 1, centre_counts)
        offset = jnp.where(empty[:, None], params.mean - location, total / safe[:, None])
        if "mean" in frozen:
            offset = params.mean - location
        mean = params.mean if "mean" in frozen else location + offset
        if "covariance" in frozen:
            return GaussianParams(mean, params.covariance)
        about = s.outer(offset, centre_counts.reshape(-1, 1) * offset - 2 * total)
        if s.shared:
            about = jnp.sum(jnp.where(linalg.trailing(empty, about), 0, about), 0)
        covariance = s.estimate(scatter + about, counts, empty, params.covariance, self.floor, d)
        return GaussianParams(mean, covariance)

    def _prior_stats(self, location, k):
        """The prior as pseudo-statistics about `location`, in the coordinates of the loop."""
        s, d = self._structure, location.shape[1]
        prior = self._prior_here(k, d, location.dtype)
        about, weight = prior.mean - location, prior.mean_precision
        quadratic = s.outer(about, weight[:, None] * about)
        quadratic = (jnp.sum(quadratic, 0) if s.shared else quadratic) + prior.scale
        count = s.prior_count(prior.degrees_of_freedom, d, k)
        return GaussianNatural(jnp.broadcast_to(count, (k,)), weight, weight[:, None] * about, quadratic)

    def log_prior(self, params: GaussianParams) -> Array:
        if self.prior is None:
            return jnp.zeros((), params.mean.dtype)
        s, (k, d) = self._structure, params.mean.shape
        params = self.decode(params)
        plain = Gaussian(self.covariance, self.prior)
        centre = jnp.broadcast_to(jnp.asarray(self.prior.mean, params.mean.dtype), (k, d))
        natural = plain.natural(GaussianParams(params.mean - centre, params.covariance))
        stats = plain._prior_stats(centre, k)
        dof, scale = (jnp.asarray(v, params.mean.dtype) for v in (self.prior.degrees_of_freedom, self.prior.scale))
        normalizer = s.prior_normalizer(dof, scale, d, k)
        precision = jnp.asarray(self.prior.mean_precision, params.mean.dtype)
        return inner(natural, stats) + normalizer + k * d / 2 * jnp.log(precision / (2 * math.pi))

    # The posterior

    def require_prior(self) -> NormalInverseWishart:
        if not self._structure.conjugate:
            raise MissingCapabilityError(
                f"{self.covariance} covariances have no conjugate prior, and so no posterior; their `prior` serves the "
                "posterior mode"
            )
        return super().require_prior()

    def posterior(self, stats: GaussianNatural) -> NormalInverseWishart:
        self.require_prior()
        s, (k, d) = self._structure, stats.linear.shape
        prior, counts, total, scatter = self._prior_here(k, d, stats.linear.dtype), *stats[1:]
        if self._anchor is None:
            return prior.update(s, counts, total, scatter)
        location, factor = self._anchor
        about = eqx.tree_at(lambda p: p.mean, prior, prior.mean - location)
        found = about.update(s, counts, s.colour(factor, total), s.congruence(factor, scatter))
        return eqx.tree_at(lambda p: p.mean, found, found.mean + location)

    def expected_natural(self, posterior: NormalInverseWishart) -> GaussianNatural:
        log_det, offset, linear, quadratic = self.natural(self.posterior_mean(posterior))
        excess = jnp.broadcast_to(posterior.log_excess(self._structure), log_det.shape)
        offset = offset - posterior.mean.shape[1] / (2 * posterior.mean_precision)
        return GaussianNatural(log_det + excess / 2, offset, linear, quadratic)

    def posterior_mean(self, posterior: NormalInverseWishart) -> GaussianParams:
        """The mean, and `scale / degrees_of_freedom`: the inverse of the expected precision.

        The expected covariance has `degrees_of_freedom - d - 1` below the line, which need not be positive.
        """
        return GaussianParams(posterior.mean, posterior.covariance)

    def draw(self, key: PRNGKeyArray, posterior: NormalInverseWishart) -> GaussianParams:
        return GaussianParams(*posterior.draw(key, self._structure))

    def kl(self, posterior: NormalInverseWishart) -> Array:
        k, d = posterior.mean.shape
        return posterior.kl(self._prior_here(k, d, posterior.mean.dtype), self._structure)

    def unconstrain_posterior(self, posterior):
        return posterior.unconstrain(self._structure)

    def constrain_posterior(self, free):
        return NormalInverseWishart.constrain(free, self._structure)

    def encode_posterior(self, posterior):
        return _recoded(self._scaled, posterior)

    def decode_posterior(self, posterior):
        return _recoded(self.decode, posterior)

    def _prior_here(self, k: int, d: int, dtype: Any) -> NormalInverseWishart:
        """The prior as a posterior without data, in the coordinates of the loop."""
        s, prior = self._structure, super().require_prior()
        mean, precision, scale, dof = (jnp.asarray(v, dtype) for v in jax.tree.leaves(prior))
        shape = s.identity(k, jnp.ones(d, dtype)).shape
        return self.encode_posterior(
            NormalInverseWishart(
                jnp.broadcast_to(mean, (k, d)),
                jnp.broadcast_to(precision, (k,)),
                jnp.broadcast_to(scale, shape),
                dof if s.shared else jnp.broadcast_to(dof, (k,)),
            )
        )

    # Coordinates

    def unconstrain(self, params: GaussianParams) -> GaussianParams:
        return GaussianParams(params.mean, self._structure.unconstrain(params.covariance))

    def constrain(self, free: GaussianParams) -> GaussianParams:
        return GaussianParams(free.mean, self._structure.constrain(free.covariance))

    def bind(self, x, weights, reduce):
        frame = Columns.of(x, weights, reduce, self._structure.isotropic)
        return dataclasses.replace(self, _frame=frame, _anchor=None)

    def encode(self, params):
        mean, covariance = self._scaled(params)
        return GaussianParams(mean, self._structure.conform(covariance))

    def _scaled(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        return GaussianParams(
            (params.mean - shift[None]) / scale[None], self._structure.rescale(params.covariance, 1 / scale)
        )

    def decode(self, params):
        if self._frame is None:
            return params
        shift, scale = self._frame
        return GaussianParams(
            params.mean * scale[None] + shift[None], self._structure.rescale(params.covariance, scale)
        )

    def _framed(self, x):
        return x if self._frame is None else self._frame.standardize(x)

    # Accuracy

    def accurate(self):
        if self._anchored:
            return None
        return dataclasses.replace(self, _anchor=None, _anchored=True)

    def at(self, params):
        if not self._anchored:
            return self
        anchor = jax.lax.stop_gradient(_Anchor(params.mean, self._structure.factor(params.covariance)))
        return dataclasses.replace(self, _anchor=anchor)

    def translate(self, stats, source):
        if self._anchor is None:
            return stats
        s, counts = self._structure, stats.offset[:, None]
        total, scatter = s.colour(source._anchor.factor, stats.linear), stats.quadratic
        scatter = s.congruence(source._anchor.factor, scatter)
        move = source._anchor.location - self._anchor.location
        shifted = s.outer(move, 2 * total + counts * move)
        scatter = scatter + (jnp.sum(shifted, 0) if s.shared else shifted)
        inverse = s.whiten(self._anchor.factor, (total + counts * move)[..., None])[..., 0]
        return GaussianNatural(stats.log_det, stats.offset, inverse, s.uncolour(self._anchor.factor, scatter))

    def loss(self, params, natural: Any = None):
        """Relative rounding error of the covariances, from the terms that cancel, and from the data themselves."""
        s, (mean, covariance) = self._structure, params
        eps = jnp.finfo(mean.dtype).eps
        if natural is None or self._anchored:
            precision = s.precision(s.factor(covariance), None)
        else:
            precision = -2 * natural.quadratic
        terms = s.cancellation(precision, covariance, jnp.zeros_like(mean) if self._anchored else mean)
        terms = jnp.sqrt(terms) if self._anchored else terms
        frame = self._frame or Columns(jnp.zeros_like(mean[0]), jnp.ones_like(mean[0]))
        spacing = (
            eps * jnp.abs(mean + (frame.shift / frame.scale)[None]) / jnp.sqrt(s.variances(covariance, mean.shape[1]))
        )
        # Rounded data add spacing^2 / 12 to a variance; 1% of that is put on a par with the limit for the statistics.
        return jnp.maximum(eps * jnp.max(terms), jnp.sqrt(eps) * 100 / 12 * jnp.max(spacing) ** 2)

    def degenerate(self, params):
        return jnp.any(self._structure.at_floor(params.covariance, self.floor))

    # Data

    def from_points(self, points, x, weights):
        points = self._framed(points)
        if self._frame is not None:
            variance = jnp.ones_like(self._frame.scale)
        else:
            share = (weights / jnp.sum(weights))[:, None]
            variance = jnp.sum(share * (x - jnp.sum(share * x, 0)[None]) ** 2, 0)
            variance = jnp.where(variance > 0, variance, 1)
        return GaussianParams(points, self._structure.identity(points.shape[0], variance))

    def mend(self, params, pooled, counts):
        poor = self._structure.at_floor(params.covariance, self.floor)
        if not self._structure.shared:
            poor = poor | (counts <= params.mean.shape[1])
        return params._replace(covariance=self._structure.mend(params.covariance, poor, pooled.covariance))

    def embed(self, x):
        return self._framed(x)

    def sample(self, key, params, labels):
        noise = jax.random.normal(key, (labels.shape[0], params.mean.shape[1]), params.mean.dtype)
        return params.mean[labels] + self._structure.coloured_noise(params.covariance, labels, noise)

    @property
    def domains(self):
        separate = isinstance(self._structure, AbstractVariances)
        return {"covariance": "positive" if separate else "definite"}

    def width(self, params):
        return params.mean.shape[1]

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_table(x, name, ", or take them for missing: missing=True in the model, or jaxem.Incomplete(family)")

    def check(self, x: Any, name: str = "data") -> None:
        self.check_rows(x, name)
        constant = np.flatnonzero(np.ptp(x, axis=0) == 0)
        if constant.size and self.prior is None:
            column = constant[0]
            raise DataError(
                f"{name}: column {column} is constant (value {float(x[0, column])!r}), so its variance has no "
                "maximum-likelihood estimate; drop the column or pass a prior"
            )

    def floats_per_row(self, params):
        k, d = params.mean.shape
        if self._anchored:
            return d, 3 * k * (d + 1)
        return 1 + d + (d if isinstance(self._structure, AbstractVariances) else d * (d + 1) // 2), 2 * k


def _recoded(code: Callable[[GaussianParams], GaussianParams], posterior: NormalInverseWishart) -> NormalInverseWishart:
    moved = code(GaussianParams(posterior.mean, posterior.scale))
    return eqx.tree_at(lambda p: (p.mean, p.scale), posterior, tuple(moved))
