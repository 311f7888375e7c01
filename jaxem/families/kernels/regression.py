"""The kernel of linear regression: residuals about each member's coefficients, in orthonormal covariates."""

import math
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.families._design import Design
from jaxem.families.kernels._kernel import AbstractKernel
from jaxem.families.responses import Responses
from jaxem.kernels import far, linalg
from jaxem.kernels.branch import refine_if
from jaxem.kernels.rows import without_weight


class RegressionParams(NamedTuple):
    """Coefficients `[k, p]` of the covariates, and variances `[k]` of the responses about their means."""

    coefficients: Float[Array, "k p"]
    variance: Float[Array, " k"]


class RegressionNatural(NamedTuple):
    """Coefficients of the log density: of 1, and of `e^2`, `e x` and `x x^T` for a residual `e` at the anchor."""

    log_det: Float[Array, " k"]
    squared: Float[Array, " k"]
    linear: Float[Array, "k p"]
    quadratic: Float[Array, "k p p"]


@final
class RegressionKernel(AbstractKernel):
    """Normal responses in the coordinates of `design`, with statistics of the residuals at the `anchor`.

    Under `heavy` tails, those of a Student t, squares alone count, and rows may be farther away.
    """

    family: Any
    design: Design | None = None
    heavy: bool = eqx.field(static=True, default=False)
    anchor: RegressionParams | None = None

    # The map

    def natural(self, params: RegressionParams) -> RegressionNatural:
        anchor = self._about(params)
        precision = anchor.variance / params.variance
        moved = (params.coefficients - anchor.coefficients) / jnp.sqrt(anchor.variance)[:, None]
        linear = precision[:, None] * moved
        quadratic = linalg.outer(linear, moved) / -2
        return RegressionNatural(-jnp.log(params.variance) / 2, -precision / 2, linear, quadratic)

    def potentials(self, natural: RegressionNatural, x: Any) -> Float[Array, "k n"]:
        covariates, residual = self._brought_near(x)[0] or self.residuals(x, natural.linear)
        return (
            natural.log_det[:, None]
            + residual * (natural.squared[:, None] * residual + linalg.matmul(natural.linear, covariates))
            + linalg.matmul(linalg.pack_symmetric(natural.quadratic), linalg.products(covariates))
        )

    def add_constant(self, natural: RegressionNatural, constant: Float[Array, " k"]) -> RegressionNatural:
        return natural._replace(log_det=natural.log_det + constant)

    def log_base(self, x: Any) -> Float[Array, " n"]:
        base, brought_near = self.log_constant(x), self._brought_near(x)[1]
        return base if brought_near is None else jnp.where(brought_near, -jnp.inf, base)

    def log_constant(self, x: Any) -> Float[Array, " n"]:
        """`log_base` of rows as far away as they may be."""
        scale = jnp.ones((), x.x.dtype) if self.design is None else self.design.scale
        return jnp.full(x.y.shape, -math.log(2 * math.pi) / 2 - jnp.log(scale), x.x.dtype)

    def _about(self, params: RegressionParams) -> RegressionParams:
        if self.anchor is not None:
            return self.anchor
        return RegressionParams(jnp.zeros_like(params.coefficients), jnp.ones_like(params.variance))

    def residuals(self, x: Responses, like: Array) -> tuple[Float[Array, "p n"], Float[Array, "k n"]]:
        """Covariates, and residuals at the anchor over its standard deviation."""
        design = self.here(x)
        covariates, y = design.covariates(x.x), design.responses(x)[None]
        if self.anchor is None:
            return covariates, jnp.broadcast_to(y, (like.shape[0], y.shape[1]))
        residual = y - linalg.matmul(self.anchor.coefficients, covariates)
        return covariates, residual / jnp.sqrt(self.anchor.variance)[:, None]

    def _brought_near(self, x: Responses) -> tuple[tuple[Array, Array] | None, Any]:
        """`_residuals` of rows that are not too far away, and which had to be brought near for that.

        `None` twice in the coordinates of data that hold the rows.
        """
        if self.design is not None or self.anchor is None:
            return None, None
        both, beyond = far.within_squares(jnp.concatenate([x.x, x.y[:, None]], 1))
        x = Responses(both[:, :-1], both[:, -1])
        covariates, residual = self.residuals(x, self.anchor.coefficients)
        reach = far.square_reach(residual.dtype) if self.heavy else far.normal_reach(residual.dtype)
        residual, distant = far.within_reach(residual[:, None], reach)
        return (covariates, residual[:, 0]), beyond | distant

    def here(self, x: Responses) -> Design:
        return Design.plain(x) if self.design is None else self.design

    # The maximum

    def maximize(
        self, stats: RegressionNatural, params: RegressionParams, frozen: tuple[str, ...] = ()
    ) -> RegressionParams:
        anchor = self._about(params)
        empty = without_weight(stats.log_det)
        deviation = jnp.sqrt(anchor.variance)[:, None]
        moved = (params.coefficients - anchor.coefficients) / deviation
        coefficients = params.coefficients
        if "coefficients" not in frozen:
            moved = solve_normal(stats.quadratic, stats.linear, moved)
            moved = jnp.where(empty[:, None], jnp.zeros_like(moved), moved)
            coefficients = jnp.where(empty[:, None], params.coefficients, anchor.coefficients + deviation * moved)
        if "variance" in frozen:
            return RegressionParams(coefficients, params.variance)
        squares = residual_squares(stats.squared, stats.linear, stats.quadratic, moved)
        variance = anchor.variance * squares / jnp.where(empty, 1, stats.log_det)
        variance = jnp.where(empty, params.variance, jnp.maximum(variance, self.family.floor))
        return RegressionParams(coefficients, variance)

    # Coordinates

    def encode(self, params):
        if self.design is None:
            return params
        return RegressionParams(self.design.encode(params.coefficients), params.variance / self.design.scale**2)

    def decode(self, params):
        if self.design is None:
            return params
        return RegressionParams(self.design.decode(params.coefficients), params.variance * self.design.scale**2)

    # Accuracy

    def about(self, params):
        return RegressionKernel(self.family, self.design, self.heavy, jax.lax.stop_gradient(params))

    def translate(self, stats, source):
        if self.anchor is None:
            return stats
        old, new = source.anchor, self.anchor
        ratio = jnp.sqrt(old.variance / new.variance)
        move = (old.coefficients - new.coefficients) / jnp.sqrt(new.variance)[:, None]
        pushed = linalg.einsum("kij,kj->ki", stats.quadratic, move)
        linear = ratio[:, None] * stats.linear
        squared = ratio**2 * stats.squared + jnp.sum(move * (2 * linear + pushed), -1)
        return RegressionNatural(stats.log_det, squared, linear + pushed, stats.quadratic)

    def rounding_error(self, params, natural=None):
        """As for a Gaussian: what rounding of the residuals adds to a variance."""
        if self.design is None:
            return jnp.zeros((), params.variance.dtype)
        spacing = self.design.rounding(params.coefficients) / jnp.sqrt(params.variance)
        eps = jnp.finfo(spacing.dtype).eps
        return jnp.sqrt(eps) * 100 / 12 * jnp.max(spacing) ** 2

    def degenerate(self, params):
        return jnp.any(params.variance <= self.family.floor)

    # Starts

    def from_points(self, points: Any, x: Any, weights):
        spread = jnp.sum(weights * self.here(x).responses(x) ** 2) / jnp.sum(weights)
        coefficients = self.embed(points)
        spread = jnp.broadcast_to(jnp.where(spread > 0, spread, 1), coefficients.shape[:1])
        return RegressionParams(coefficients, spread)

    def embed(self, x: Any, weights=None):
        """The least change of the coefficients that takes most of the way to each row."""
        design = self.here(x)
        covariates = design.covariates(x.x).T
        return covariates * (design.responses(x) / (1 + jnp.sum(covariates**2, -1)))[:, None]

    def floats_per_row(self, params):
        k, p = params.coefficients.shape
        return p + p * (p + 1) // 2, 4 * k


def solve_normal(gram: Float[Array, "k p p"], slope: Float[Array, "k p"], start: Array) -> Float[Array, "k p"]:
    """Solutions of `gram @ b = slope`; the nearest to `start` where `gram` is singular."""
    p, eps = gram.shape[-1], jnp.finfo(gram.dtype).eps
    size = jnp.trace(gram, axis1=-2, axis2=-1)
    size = jnp.where(size > 0, size, 1)[:, None, None]
    gram, slope = linalg.symmetrize(gram) / size, slope / size[..., 0]

    def by_eigenvalue(gram, rest, start):
        values, vectors = linalg.eigh(gram)
        known = values > 10 * p * eps * jnp.max(values, -1, keepdims=True)
        inverse = jnp.where(known, 1 / jnp.where(known, values, 1), 0)
        along = linalg.einsum("kji,kj->ki", vectors, rest)
        return start + linalg.einsum("kij,kj->ki", vectors, inverse * along)

    root = linalg.inverse_lower(linalg.cholesky(gram))
    singular = ~(jnp.sum(root**2, (-2, -1)) < 1 / (100 * p * eps))
    root = jnp.where(singular[:, None, None], jnp.zeros_like(root), root)
    rest = slope - linalg.einsum("kij,kj->ki", gram, start)
    found = start + linalg.einsum("kji,kjl,kl->ki", root, root, rest)
    nearest = refine_if(jnp.any(singular), by_eigenvalue, found, gram, rest, start)
    return jnp.where(singular[:, None], nearest, found)


def residual_squares(squared: Array, linear: Array, quadratic: Array, moved: Array) -> Float[Array, " k"]:
    """Sum of squares about `moved`, from those about 0; never less than rounding leaves of them."""
    total = squared + jnp.sum(moved * (linalg.einsum("kij,kj->ki", quadratic, moved) - 2 * linear), -1)
    return jnp.maximum(total, 8 * jnp.finfo(total.dtype).eps * squared)
