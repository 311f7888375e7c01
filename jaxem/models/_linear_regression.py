"""Gaussian regression of a target on regressors, either of which may be hidden: a piece of the log density."""

import math
from typing import Any, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxem.families.covariance import STRUCTURES
from jaxem.kernels import linalg


class RegressionNatural(NamedTuple):
    """Coefficients of 1, `-w w^T / 2`, `w u^T` and `-u u^T / 2`, for a target `w` `[p]` and regressors `u` `[r]`.

    A diagonal `precision` is `[p]`; where each column of the target has data of its own, `log_norm` is `[p]` and
    `quadratic` `[p, r, r]`.
    """

    log_norm: Array
    precision: Array
    cross: Float[Array, "p r"]
    quadratic: Array


class Terms(NamedTuple):
    """The log density at `w = at + a`, `u = by + b`, to first order: `constant + target^T a + regressors^T b`."""

    constant: Array
    target: Array
    regressors: Array


@final
class LinearRegression(eqx.Module):
    """`w = change @ u + noise`, where `w` is what coefficients near the true ones leave of the target.

    **Arguments:**

    - `covariance`: `"full"` or `"diagonal"`.
    - `by_column`: whether columns of the target may be missing one by one.
    """

    covariance: str = eqx.field(static=True)
    by_column: bool = eqx.field(static=True, default=False)

    @property
    def structure(self) -> Any:
        return STRUCTURES[self.covariance]()

    @property
    def diagonal(self) -> bool:
        return self.covariance == "diagonal"

    def natural(self, change: Array, covariance: Array) -> RegressionNatural:
        s, p = self.structure, change.shape[0]
        factor = s.factor(covariance[None])
        precision = s.precision(factor, None)[0]
        cross = precision[:, None] * change if self.diagonal else linalg.matmul(precision, change)
        if self.by_column:
            log_norm = -(jnp.log(covariance) + math.log(2 * math.pi)) / 2
            quadratic = cross[:, :, None] * change[:, None, :]
        else:
            log_norm = -s.half_log_det(factor, p)[0] - p / 2 * math.log(2 * math.pi)
            quadratic = linalg.matmul(cross.T, change)
        return RegressionNatural(log_norm, precision, cross, quadratic)

    def symmetric(self, natural: RegressionNatural) -> RegressionNatural:
        """The same, read so that statistics, which are derivatives, are symmetric."""
        precision = natural.precision if self.diagonal else linalg.symmetrize(natural.precision)
        return natural._replace(precision=precision, quadratic=linalg.symmetrize(natural.quadratic))

    def matrix(self, natural: RegressionNatural) -> Float[Array, "p p"]:
        """The precision as a matrix."""
        return jnp.diag(natural.precision) if self.diagonal else natural.precision

    def terms(self, natural: RegressionNatural, at: Array, by: Array, seen: Array) -> Terms:
        """`at` `[..., p]`, `by` `[..., r]`; `seen` `[..., p]` (or `[..., 1]`) is 1, or 0 for what is not there."""
        if self.by_column:
            constant = linalg.einsum("...p,p->...", seen, natural.log_norm)
        else:
            constant = natural.log_norm * seen[..., 0]
        predicted = linalg.einsum("pr,...r->...p", natural.cross, by)
        target = seen * (predicted - self._weighted(natural, at))
        pulled = self.gram(natural, by, seen)
        regressors = linalg.einsum("pr,...p->...r", natural.cross, seen * at) - pulled
        halves = jnp.sum(at * (target + seen * predicted), -1) - jnp.sum(by * pulled, -1)
        return Terms(constant + halves / 2, target, regressors)

    def gram(self, natural: RegressionNatural, by: Array, seen: Array) -> Array:
        """`natural.quadratic` times `by`, for what is seen."""
        if self.by_column:
            return linalg.einsum("...p,prs,...s->...r", seen, natural.quadratic, by)
        return seen * linalg.einsum("rs,...s->...r", natural.quadratic, by)

    def _weighted(self, natural, at):
        if self.diagonal:
            return at * jnp.broadcast_to(natural.precision, at.shape)
        return linalg.einsum("pq,...q->...p", natural.precision, at)

    # Statistics

    def translate(self, stats: RegressionNatural, move: Float[Array, "p r"]) -> RegressionNatural:
        """Statistics of `w - move @ u` from those of `w`."""
        scatter = self._explained(stats, move)
        if self.by_column:
            cross = stats.cross + 2 * linalg.einsum("pr,prs->ps", move, stats.quadratic)
        else:
            cross = stats.cross + 2 * linalg.matmul(move, stats.quadratic)
        return RegressionNatural(stats.log_norm, -scatter / 2, cross, stats.quadratic)

    def _explained(self, stats, change):
        """The scatter of `w - change @ u`."""
        scatter, cross, gram = -2 * stats.precision, stats.cross, -2 * stats.quadratic
        bent = linalg.einsum("prs,ps->pr", gram, change) if self.by_column else linalg.matmul(change, gram)
        if self.diagonal:
            return scatter + jnp.sum(change * (bent - 2 * cross), 1)
        return scatter + linalg.matmul(bent - cross, change.T) - linalg.matmul(change, cross.T)

    def maximize(
        self, stats: RegressionNatural, change: Array, covariance: Array, free: np.ndarray, fixed: bool
    ) -> tuple[Array, Array]:
        """Coefficients, of which those with `free` `[r]` may move, and the covariance unless it is `fixed`.

        Without data, those given.
        """
        counts = stats.log_norm
        some = counts > 0
        columns, others = np.flatnonzero(free), np.flatnonzero(~free)
        if len(columns):
            gram = -2 * stats.quadratic
            mixed, gram = gram[..., others[:, None], columns], gram[..., columns[:, None], columns]
            spec = "pr,prs->ps" if self.by_column else "pr,rs->ps"
            target = stats.cross[:, columns] - linalg.einsum(spec, change[:, others], mixed)
            solved = _solved(gram, target)
            enough = jnp.broadcast_to(some.reshape(-1, 1), solved.shape)
            change = change.at[:, columns].set(jnp.where(enough, solved, change[:, columns]))
        if not fixed:
            safe = jnp.where(some, counts, 1)
            scatter = self._explained(stats, change)
            found = scatter / safe if self.diagonal else linalg.symmetrize(scatter) / safe
            covariance = jnp.where(jnp.broadcast_to(some, found.shape), found, covariance)
        return change, covariance


def _solved(gram: Array, target: Float[Array, "p r"]) -> Float[Array, "p r"]:
    """`target @ gram^-1`, with a matrix for each row of the target where `gram` is `[p, r, r]`."""
    r = gram.shape[-1]
    scale = jnp.sqrt(jnp.diagonal(gram, axis1=-2, axis2=-1))
    scale = jnp.where(scale > 0, scale, 1)
    ridge = 4 * r * jnp.finfo(gram.dtype).eps
    scaled = gram / linalg.outer(scale, scale)
    scaled = scaled + jnp.broadcast_to(ridge * jnp.eye(r, dtype=gram.dtype), scaled.shape)
    inverse = linalg.inverse_lower(linalg.cholesky(linalg.symmetrize(scaled)))
    scale = jnp.broadcast_to(scale, target.shape)
    spec = ("pij,pj->pi", "pij,pi->pj") if gram.ndim == 3 else ("ij,pj->pi", "ij,pi->pj")
    return linalg.einsum(spec[1], inverse, linalg.einsum(spec[0], inverse, target / scale)) / scale
