"""The kernel of normal distributions: product form in standardised columns, or whitened about each member."""

import dataclasses
import math
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxem.families._columns import Columns
from jaxem.families.covariance import AbstractCovariance, AbstractVariances
from jaxem.families.kernels._gaussian_trees import Anchor, UpperBlocks
from jaxem.families.kernels._gaussian_trees import GaussianNatural as GaussianNatural
from jaxem.families.kernels._gaussian_trees import GaussianParams as GaussianParams
from jaxem.families.kernels._kernel import AbstractKernel, Coefficients, member_blocks, one_block
from jaxem.families.kernels.gaussian_conjugate import GaussianConjugate, recoded
from jaxem.families.priors import NormalInverseWishart
from jaxem.kernels import far, linalg
from jaxem.kernels.quadratic import block_edges, blocks_pay, forms, upper_blocks
from jaxem.kernels.rows import without_weight
from jaxem.kernels.sums import inner


@final
class GaussianKernel(AbstractKernel):
    """Normal distributions in columns that `frame` standardises; `whitened` ones take statistics about an `anchor`.

    The product form of the statistics (two matrix products) is fast, and loses digits where a member is much narrower
    than the data; statistics centred on each member and whitened by it do not. Under `heavy` tails, those of a Student
    t, squares alone count, and rows may be farther away.
    """

    family: Any
    frame: Columns | None = None
    whitened: bool = eqx.field(static=True, default=False)
    heavy: bool = eqx.field(static=True, default=False)
    anchor: Anchor | None = None
    lanes: int = eqx.field(static=True, default=1)

    @property
    def structure(self) -> AbstractCovariance:
        return self.family.structure

    @property
    def product_form(self) -> bool:
        return self.anchor is None and not self.structure.shared

    @property
    def quadratic(self) -> bool:
        return not isinstance(self.structure, AbstractVariances)

    @property
    def coupled(self) -> bool:
        """Whether a member's covariance cannot be estimated without the others."""
        return self.structure.shared or self.structure.coupled

    def framed(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Rows in the coordinates of the kernel."""
        return x if self.frame is None else self.frame.standardize(x)

    # The map

    def natural(self, params: GaussianParams) -> GaussianNatural:
        s, (mean, covariance) = self.structure, params
        k, d = mean.shape
        factor = s.factor(covariance)
        if self.anchor is not None:
            mean = s.whiten(self.anchor.factor, (mean - self.anchor.location)[..., None])[..., 0]
        precision = s.precision(factor, None if self.anchor is None else self.anchor.factor)
        linear = s.apply(precision, mean)
        log_det = jnp.broadcast_to(-s.half_log_det(factor, d), (k,))
        return GaussianNatural(log_det, -jnp.sum(mean * linear, -1) / 2, linear, -precision / 2)

    def coefficients(self, natural: GaussianNatural) -> Float[Array, "k p"]:
        constant = (natural.log_det + natural.offset)[:, None]
        quadratic = self.structure.pack(natural.quadratic)
        quadratic = jnp.broadcast_to(quadratic, (constant.shape[0], quadratic.shape[-1]))
        return jnp.concatenate([constant, natural.linear, quadratic], -1)

    def statistics(self, x: Float[Array, "n d"]) -> Float[Array, "p n"]:
        return self.structure.design(self.framed(x))

    def in_blocks(self, means: Array) -> bool:
        """Whether quadratic forms are products of blocks of columns, in place of expanded rows; from a shape `[k, d]`
        and a type."""
        if self.anchor is not None or isinstance(self.structure, AbstractVariances):
            return False
        k, d = means.shape
        return blocks_pay(self.lanes * (1 if self.structure.shared else k), d, means.dtype)

    def prepare(self, natural: GaussianNatural) -> PyTree:
        if not self.in_blocks(natural.linear):
            return super().prepare(natural)
        quadratic = natural.quadratic[None] if self.structure.shared else natural.quadratic
        return UpperBlocks(natural.log_det + natural.offset, natural.linear, upper_blocks(quadratic))

    def potentials(
        self, natural: GaussianNatural | UpperBlocks | Coefficients, x: Float[Array, "n d"]
    ) -> Float[Array, "k n"]:
        s = self.structure
        if isinstance(natural, GaussianNatural):
            natural = self.prepare(natural)
        if isinstance(natural, UpperBlocks):
            x = self.framed(x)
            return natural.constant[:, None] + linalg.matmul(natural.linear, x.T) + forms(natural.upper, x)
        if isinstance(natural, Coefficients):
            return super().potentials(natural, x)
        if self.anchor is not None:
            y = self._whitened(x)[0]
            return (natural.log_det + natural.offset)[:, None] + s.form(natural.quadratic, natural.linear, y)
        if s.shared:
            # The quadratic term is common to all members: one row of coefficients instead of k.
            x = self.framed(x).T
            constant = natural.log_det + natural.offset
            common = linalg.matmul(s.pack(natural.quadratic)[None], s.square(x))
            return constant[:, None] + linalg.matmul(natural.linear, x) + common
        return super().potentials(natural, x)

    def add_constant(self, natural: GaussianNatural, constant: Float[Array, " k"]) -> GaussianNatural:
        return natural._replace(log_det=natural.log_det + constant)

    def log_base(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        brought_near = None if self.anchor is None else self._whitened(x)[1]
        base = self.log_constant(x)
        return base if brought_near is None else jnp.where(brought_near, -jnp.inf, base)

    def log_constant(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """`log_base` of rows as far away as they may be."""
        d = x.shape[1]
        constant = -d / 2 * math.log(2 * math.pi)
        jacobian = 0 if self.frame is None else jnp.sum(jnp.log(self.frame.scale))
        return jnp.full(x.shape[0], constant - jacobian, x.dtype)

    def _whitened(self, x: Float[Array, "n d"]) -> tuple[Float[Array, "k d n"], Any]:
        """Rows in the coordinates of each member's anchor, and which of them have been brought near.

        None in the coordinates of data that hold them.
        """
        assert self.anchor is not None
        location, _, inverse = self.anchor
        if self.frame is not None:
            return self.structure.whitened(inverse, location, self.framed(x).T), None
        x, beyond = far.within_squares(x)
        y = self.structure.whitened(inverse, location, x.T)
        reach = far.square_reach(x.dtype) if self.heavy else far.normal_reach(x.dtype)
        y, distant = far.within_reach(y, reach)
        return y, beyond | distant

    # The maximum

    def maximize(self, stats: GaussianNatural, params: GaussianParams, frozen: tuple[str, ...] = ()) -> GaussianParams:
        s = self.structure
        k, d = params.mean.shape
        location = self.anchor.location if self.anchor is not None else jnp.zeros_like(params.mean)
        counts, centre_counts, total, scatter = stats
        if self.anchor is not None:
            total, scatter = s.colour(self.anchor.factor, total), s.congruence(self.anchor.factor, scatter)
        empty = without_weight(counts)
        if self.family.prior is not None:
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
        covariance = s.estimate(scatter + about, counts, empty, params.covariance, self.family.floor, d)
        return GaussianParams(mean, covariance)

    def _prior_stats(self, location, k):
        """The prior as pseudo-statistics about `location`, in the coordinates of the kernel."""
        s, d = self.structure, location.shape[1]
        prior = self.prior_here(k, d, location.dtype)
        about, weight = prior.mean - location, prior.mean_precision
        quadratic = s.outer(about, weight[:, None] * about)
        quadratic = (jnp.sum(quadratic, 0) if s.shared else quadratic) + prior.scale
        count = s.prior_count(prior.degrees_of_freedom, d, k)
        return GaussianNatural(jnp.broadcast_to(count, (k,)), weight, weight[:, None] * about, quadratic)

    def log_prior(self, params: GaussianParams) -> Array:
        prior = self.family.prior
        if prior is None:
            return jnp.zeros((), params.mean.dtype)
        s, (k, d) = self.structure, params.mean.shape
        params = self.decode(params)
        plain = GaussianKernel(self.family)
        centre = jnp.broadcast_to(jnp.asarray(prior.mean, params.mean.dtype), (k, d))
        natural = plain.natural(GaussianParams(params.mean - centre, params.covariance))
        stats = plain._prior_stats(centre, k)
        dof, scale = (jnp.asarray(v, params.mean.dtype) for v in (prior.degrees_of_freedom, prior.scale))
        normalizer = s.prior_normalizer(dof, scale, d, k)
        precision = jnp.asarray(prior.mean_precision, params.mean.dtype)
        return inner(natural, stats) + normalizer + k * d / 2 * jnp.log(precision / (2 * math.pi))

    def conjugate(self) -> GaussianConjugate | None:
        if self.family.prior is None or not self.structure.conjugate:
            return None
        return GaussianConjugate(self)

    def prior_here(self, k: int, d: int, dtype: Any) -> NormalInverseWishart:
        """The prior as a posterior without data, in the coordinates of the kernel."""
        s = self.structure
        mean, precision, scale, dof = (jnp.asarray(v, dtype) for v in jax.tree.leaves(self.family.prior))
        shape = s.identity(k, jnp.ones(d, dtype)).shape
        prior = NormalInverseWishart(
            jnp.broadcast_to(mean, (k, d)),
            jnp.broadcast_to(precision, (k,)),
            jnp.broadcast_to(scale, shape),
            dof if s.shared else jnp.broadcast_to(dof, (k,)),
        )
        return recoded(self.scaled, prior)

    # Coordinates

    def encode(self, params):
        mean, covariance = self.scaled(params)
        return GaussianParams(mean, self.structure.conform(covariance))

    def scaled(self, params: GaussianParams) -> GaussianParams:
        """Parameters in the coordinates of the kernel, of whatever shape the covariances are."""
        if self.frame is None:
            return params
        shift, scale = self.frame
        return GaussianParams(
            (params.mean - shift[None]) / scale[None], self.structure.rescale(params.covariance, 1 / scale)
        )

    def decode(self, params):
        if self.frame is None:
            return params
        shift, scale = self.frame
        return GaussianParams(params.mean * scale[None] + shift[None], self.structure.rescale(params.covariance, scale))

    # Accuracy

    def accurate(self):
        return None if self.whitened else dataclasses.replace(self, whitened=True)

    def about(self, params):
        if not self.whitened:
            return self
        factor = self.structure.factor(params.covariance)
        anchor = jax.lax.stop_gradient(Anchor(params.mean, factor, self.structure.inverse(factor)))
        return dataclasses.replace(self, anchor=anchor)

    def translate(self, stats, source):
        if self.anchor is None:
            return stats
        s, counts = self.structure, stats.offset[:, None]
        total, scatter = s.colour(source.anchor.factor, stats.linear), stats.quadratic
        scatter = s.congruence(source.anchor.factor, scatter)
        move = source.anchor.location - self.anchor.location
        shifted = s.outer(move, 2 * total + counts * move)
        scatter = scatter + (jnp.sum(shifted, 0) if s.shared else shifted)
        inverse = s.whiten(self.anchor.factor, (total + counts * move)[..., None])[..., 0]
        return GaussianNatural(stats.log_det, stats.offset, inverse, s.uncolour(self.anchor.factor, scatter))

    def rounding_error(self, params, natural: Any = None):
        """That of the covariances, from the terms that cancel, and from the data themselves."""
        s, (mean, covariance) = self.structure, params
        eps = jnp.finfo(mean.dtype).eps
        natural = None if self.whitened else natural
        precision = s.precision(s.factor(covariance), None) if natural is None else -2 * natural.quadratic
        about = jnp.zeros_like(mean) if self.whitened else mean
        terms = s.cancellation(precision, covariance, about, not self.whitened and self.in_blocks(mean))
        terms = jnp.sqrt(terms) if self.whitened else terms
        frame = self.frame or Columns(jnp.zeros_like(mean[0]), jnp.ones_like(mean[0]))
        size = jnp.abs(mean + (frame.shift / frame.scale)[None])
        spacing = eps * size / jnp.sqrt(s.variances(covariance, mean.shape[1]))
        # Rounded data add spacing^2 / 12 to a variance; 1% of that is put on a par with the limit for the statistics.
        return jnp.maximum(eps * jnp.max(terms), jnp.sqrt(eps) * 100 / 12 * jnp.max(spacing) ** 2)

    def degenerate(self, params):
        return jnp.any(self.structure.at_floor(params.covariance, self.family.floor))

    def for_lanes(self, lanes):
        return dataclasses.replace(self, lanes=lanes)

    def blocks(self, free):
        return one_block(free) if self.coupled else member_blocks(free)

    def floats_per_row(self, params):
        k, d = params.mean.shape
        if self.whitened:
            # Whitened rows are read half as often as expanded ones.
            return d + k * d // 2, k * (d + 2)
        if self.in_blocks(params.mean):
            start, stop = block_edges(d)[0]
            return d + 2 * (1 if self.structure.shared else k) * (stop - start), 2 * k
        return 1 + d + (d if isinstance(self.structure, AbstractVariances) else d * (d + 1) // 2), 2 * k

    # Starts

    def from_points(self, points, x, weights):
        points = self.framed(points)
        if self.frame is not None:
            variance = jnp.ones_like(self.frame.scale)
        else:
            share = (weights / jnp.sum(weights))[:, None]
            variance = jnp.sum(share * (x - jnp.sum(share * x, 0)[None]) ** 2, 0)
            variance = jnp.where(variance > 0, variance, 1)
        return GaussianParams(points, self.structure.identity(points.shape[0], variance))

    def embed(self, x, weights=None):
        return self.framed(x)
