import dataclasses
import math
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem import _bijections as bijections
from jaxem._errors import MissingCapabilityError
from jaxem.families._design import Design, check_design
from jaxem.families._family import AbstractFamily
from jaxem.families.responses import Responses, check_covariates, check_responses, one_response
from jaxem.kernels import far, linalg
from jaxem.kernels.branch import refine_if


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
class LinearRegression(AbstractFamily):
    """Responses that are normal about a linear function of covariates: `y ~ N(x @ coefficients, variance)`.

    **Arguments:**

    - `floor`: no variance falls below this fraction of that about the least-squares fit to all rows. A fit that ends
        there has status `degenerate_component`.

    Rows are `jaxem.Responses(x, y)`, with a column of ones in `x` for a constant term; their weights and a mixture's
    responsibilities make it weighted least squares. Coefficients that the rows of a member leave undetermined (fewer
    than `p` distinct ones) stay as near to where they were as its fit allows. The arithmetic is that of residuals at
    the current coefficients, in columns made orthonormal, and accurate for any offset and scale of the covariates.
    DeSarbo and Cron (1988).

    **Example**

    >>> import jax, jax.numpy as jnp, jaxem
    >>> t = jnp.arange(30.0)
    >>> y = jnp.where(t % 2 == 0, t, 40 - t) + jnp.sin(7 * t)
    >>> rows = jaxem.Responses(jnp.stack([jnp.ones(30), t], 1), y)
    >>> model = jaxem.Mixture(jaxem.LinearRegression(), num_components=2)
    >>> fit = jaxem.fit(model, rows, key=jax.random.key(0), restarts=20)
    >>> sorted(fit.params.components.coefficients[:, 1].round(1).tolist())
    [-1.0, 1.0]
    """

    floor: float = eqx.field(static=True, default=1e-12)
    _design: Design | None = None
    _anchor: RegressionParams | None = None
    _heavy: bool = eqx.field(static=True, default=False)  # squares alone count, as under the tails of a Student t

    parameters: ClassVar[tuple[str, ...]] = ("coefficients", "variance")

    def __check_init__(self):
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor must lie in [0, 1), got {self.floor!r}")

    # The linear map

    def natural(self, params: RegressionParams) -> RegressionNatural:
        anchor = self._about(params)
        precision = anchor.variance / params.variance
        moved = (params.coefficients - anchor.coefficients) / jnp.sqrt(anchor.variance)[:, None]
        linear = precision[:, None] * moved
        quadratic = linalg.outer(linear, moved) / -2
        return RegressionNatural(-jnp.log(params.variance) / 2, -precision / 2, linear, quadratic)

    def potentials(self, natural: RegressionNatural, x: Any) -> Float[Array, "k n"]:
        covariates, residual = self._brought_near(x)[0] or self._residuals(x, natural.linear)
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
        scale = jnp.ones((), x.x.dtype) if self._design is None else self._design.scale
        return jnp.full(x.y.shape, -math.log(2 * math.pi) / 2 - jnp.log(scale), x.x.dtype)

    def _about(self, params: RegressionParams) -> RegressionParams:
        if self._anchor is not None:
            return self._anchor
        return RegressionParams(jnp.zeros_like(params.coefficients), jnp.ones_like(params.variance))

    def _residuals(self, x: Responses, like: Array) -> tuple[Float[Array, "p n"], Float[Array, "k n"]]:
        """Covariates, and residuals at the anchor over its standard deviation."""
        design = self._here(x)
        covariates, y = design.covariates(x.x), design.responses(x)[None]
        if self._anchor is None:
            return covariates, jnp.broadcast_to(y, (like.shape[0], y.shape[1]))
        residual = y - linalg.matmul(self._anchor.coefficients, covariates)
        return covariates, residual / jnp.sqrt(self._anchor.variance)[:, None]

    def _brought_near(self, x: Responses) -> tuple[tuple[Array, Array] | None, Any]:
        """`_residuals` of rows that are not too far away, and which had to be brought near for that.

        `None` twice in the coordinates of data that hold the rows.
        """
        if self._design is not None or self._anchor is None:
            return None, None
        both, beyond = far.within_squares(jnp.concatenate([x.x, x.y[:, None]], 1))
        x = Responses(both[:, :-1], both[:, -1])
        covariates, residual = self._residuals(x, self._anchor.coefficients)
        reach = far.square_reach(residual.dtype) if self._heavy else far.normal_reach(residual.dtype)
        residual, distant = far.within_reach(residual[:, None], reach)
        return (covariates, residual[:, 0]), beyond | distant

    def _here(self, x: Responses) -> Design:
        return Design.plain(x) if self._design is None else self._design

    # The M-step

    def maximize(
        self, stats: RegressionNatural, params: RegressionParams, frozen: tuple[str, ...] = ()
    ) -> RegressionParams:
        anchor = self._about(params)
        empty = self.empty(stats.log_det)
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
        variance = jnp.where(empty, params.variance, jnp.maximum(variance, self.floor))
        return RegressionParams(coefficients, variance)

    # Coordinates

    def unconstrain(self, params: RegressionParams) -> RegressionParams:
        return params._replace(variance=bijections.positive_to_free(params.variance))

    def constrain(self, free: RegressionParams) -> RegressionParams:
        return free._replace(variance=bijections.free_to_positive(free.variance))

    def bind(self, x: Any, weights, reduce):
        return self.framed(Design.of(x, weights, reduce))

    def framed(self, design: Design) -> "LinearRegression":
        """The family in these coordinates."""
        return dataclasses.replace(self, _design=design, _anchor=None)

    def encode(self, params):
        if self._design is None:
            return params
        return RegressionParams(self._design.encode(params.coefficients), params.variance / self._design.scale**2)

    def decode(self, params):
        if self._design is None:
            return params
        return RegressionParams(self._design.decode(params.coefficients), params.variance * self._design.scale**2)

    def at(self, params):
        return dataclasses.replace(self, _anchor=jax.lax.stop_gradient(params))

    def translate(self, stats, source):
        if self._anchor is None:
            return stats
        old, new = source._anchor, self._anchor
        ratio = jnp.sqrt(old.variance / new.variance)
        move = (old.coefficients - new.coefficients) / jnp.sqrt(new.variance)[:, None]
        pushed = linalg.einsum("kij,kj->ki", stats.quadratic, move)
        linear = ratio[:, None] * stats.linear
        squared = ratio**2 * stats.squared + jnp.sum(move * (2 * linear + pushed), -1)
        return RegressionNatural(stats.log_det, squared, linear + pushed, stats.quadratic)

    def loss(self, params, natural=None):
        """As for a Gaussian: what rounding of the residuals adds to a variance."""
        if self._design is None:
            return jnp.zeros((), params.variance.dtype)
        spacing = self._design.rounding(params.coefficients) / jnp.sqrt(params.variance)
        eps = jnp.finfo(spacing.dtype).eps
        return jnp.sqrt(eps) * 100 / 12 * jnp.max(spacing) ** 2

    def degenerate(self, params):
        return jnp.any(params.variance <= self.floor)

    # Data

    def read(self, x):
        return one_response(x)

    def from_points(self, points: Any, x: Any, weights):
        spread = jnp.sum(weights * self._here(x).responses(x) ** 2) / jnp.sum(weights)
        coefficients = self.embed(points)
        spread = jnp.broadcast_to(jnp.where(spread > 0, spread, 1), coefficients.shape[:1])
        return RegressionParams(coefficients, spread)

    def mend(self, params, pooled, counts):
        poor = (params.variance <= self.floor) | (counts <= params.coefficients.shape[1])
        coefficients = jnp.where(poor[:, None], pooled.coefficients, params.coefficients)
        return RegressionParams(coefficients, jnp.where(poor, pooled.variance, params.variance))

    def embed(self, x: Any):
        """The least change of the coefficients that takes most of the way to each row."""
        design = self._here(x)
        covariates = design.covariates(x.x).T
        return covariates * (design.responses(x) / (1 + jnp.sum(covariates**2, -1)))[:, None]

    def sample(self, key, params, labels):
        raise MissingCapabilityError(
            "LinearRegression says how responses follow from covariates, and has no distribution of covariates to draw "
            "rows from"
        )

    # The door of data

    @property
    def domains(self):
        return {"variance": "positive"}

    def check_shape(self, params, x, name="data"):
        check_covariates(x, params.coefficients.shape[1], name)

    def check_rows(self, x: Any, name: str = "data") -> None:
        check_responses(x, name)

    def check(self, x: Any, name: str = "data") -> None:
        check_design(x, name)

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
