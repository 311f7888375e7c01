"""Covariances `volume_k orientation_k shape orientation_k^T` with one diagonal `shape` for all members.

Given the orientations, which are the eigenvectors of each scatter, minus twice the log-likelihood is

    sum_k counts_k (d log volume_k + sum_j values_kj / (counts_k volume_k shape_j)),

convex in the logarithms of volumes and shape. Its minimum is a matrix scaling: divided by the fitted eigenvalues, those
of the scatters are a table in which row `k` sums to `d counts_k` and all columns have the same sum.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxem.kernels import linalg

_MOST_STEPS = 60


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def equal_shape(scatter: Float[Array, "k d d"], counts: Float[Array, " k"], floor: float) -> Float[Array, "k d d"]:
    """Maximum-likelihood covariances of equal shape, from the scatter about each mean.

    No eigenvalue is below `floor`, nor below what the arithmetic resolves beside the largest of its member. A member
    with a count of 0 has no say: it keeps volume and orientation of what stands for its scatter, with the others'
    shape. Celeux and Govaert (1995), model `[lambda_k D_k A D_k']`; matrix scaling is that of Sinkhorn (1967).

    The derivative is exact but where a member has two equal eigenvalues, whose directions are arbitrary: it is then
    that of a covariance which keeps its ratio to the scatter. What the floor holds has none.
    """
    values, vectors = _eigen(scatter)
    return linalg.from_eigen(vectors, _fitted(values, counts, floor))


@equal_shape.defjvp
def _(floor, primals, tangents):
    scatter, counts = primals
    values, vectors = _eigen(scatter)
    turned = linalg.matmul(linalg.matmul(linalg.transpose(vectors), linalg.symmetrize(tangents[0])), vectors)
    of_values = jnp.diagonal(turned, axis1=-2, axis2=-1)
    fitted, of_fitted = jax.jvp(lambda v, c: _fitted(v, c, floor), (values, counts), (of_values, tangents[1]))
    moved = linalg.diagonal_matrix(of_fitted) + _turning(values, fitted) * turned
    tangent = linalg.matmul(linalg.matmul(vectors, moved), linalg.transpose(vectors))
    return linalg.from_eigen(vectors, fitted), tangent


def _eigen(scatter):
    """Eigenvalues, descending, and eigenvectors as columns."""
    values, vectors = linalg.eigh(linalg.symmetrize(scatter))
    return jnp.maximum(values[..., ::-1], 0), vectors[..., ::-1]


def _turning(values, fitted):
    """How much of the off-diagonal entries of a change of the scatter the fitted covariance takes on."""
    gap = values[..., :, None] - values[..., None, :]
    apart = gap != 0
    slope = (fitted[..., :, None] - fitted[..., None, :]) / jnp.where(apart, gap, 1)
    ratio = jnp.where(values > 0, fitted / jnp.where(values > 0, values, 1), 0)
    slope = jnp.where(apart, slope, jnp.broadcast_to(ratio[..., None], slope.shape))
    return slope - linalg.diagonal_matrix(jnp.diagonal(slope, axis1=-2, axis2=-1))


# The fitted eigenvalues are `exp(least_k + rise_j)`, with `rise` descending to 0 at the last: so the floor bounds each
# `least` alone. Given `rise` the best `least` is explicit, and what remains is a convex function of `rise`.


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _fitted(values, counts, floor):
    """Eigenvalues `[k, d]` of the maximum-likelihood covariances, from those of the scatters."""
    bound = _bound(values, counts, floor)
    rise = _best_rise(values, counts, bound)
    log = jnp.log(jnp.maximum(values, jnp.finfo(values.dtype).tiny))
    kept = jnp.maximum(jnp.mean(log, 1) - jnp.mean(rise), jnp.log(bound))
    least = jnp.where(counts > 0, _best_least(values, counts, bound, rise), kept)
    return jnp.exp(least[:, None] + rise[None])


@_fitted.defjvp
def _(floor, primals, tangents):
    (values, counts), (of_values, of_counts) = primals, tangents
    fitted, bound = _fitted(values, counts, floor), _bound(values, counts, floor)
    d, used = values.shape[1], counts > 0
    free = fitted[:, -1] > bound * (1 + _slack(values))
    level = jnp.all((fitted == fitted[:, -1:])[:, :-1], 0) & jnp.any(used & ~free)
    table, moved = (jnp.where(used[:, None], v / fitted, 0) for v in (values, of_values))
    rows = jnp.where(used & free, jnp.sum(table, 1), 1)
    share = jnp.where(used & free, (jnp.sum(moved, 1) - d * of_counts) / rows, 0)
    pull = jnp.sum(moved - table * share[:, None], 0) - jnp.sum(jnp.where(used, of_counts, 0))
    rise = jnp.append(_newton_step(table[:, :-1], used & free, rows, level, pull[:-1]), 0)
    kept = jnp.mean(of_values / jnp.maximum(values, jnp.finfo(values.dtype).tiny), 1) - jnp.mean(rise)
    least = jnp.where(used, share - jnp.sum(table * rise[None], 1) / rows, kept)
    return fitted, fitted * (jnp.where(free, least, 0)[:, None] + rise[None])


def _slack(values):
    return 1e3 * jnp.finfo(values.dtype).eps


def _bound(values, counts, floor):
    """What the least eigenvalue of each member must not fall below."""
    finfo = jnp.finfo(values.dtype)
    largest = values[:, 0] / jnp.where(counts > 0, counts, 1)
    return jax.lax.stop_gradient(jnp.maximum(jnp.maximum(floor, 8 * finfo.eps * largest), finfo.tiny))


def _best_least(values, counts, bound, rise):
    mean = jnp.sum(values * jnp.exp(-rise)[None], 1) / jnp.where(counts > 0, values.shape[1] * counts, 1)
    return jnp.log(jnp.maximum(mean, bound))


def _best_rise(values, counts, bound):
    """By Newton's method, or where that does not go downhill by fitting shape and volumes in turn."""
    finfo, d, used = jnp.finfo(values.dtype), values.shape[1], counts > 0
    values, total = jnp.where(used[:, None], values, 0), jnp.maximum(jnp.sum(counts), finfo.tiny)

    def look(rise):
        """The best volumes, the table, and the objective per count."""
        least = _best_least(values, counts, bound, rise)
        table = values * jnp.exp(-least[:, None] - rise[None])
        return least, table, (jnp.sum(counts * (d * least + jnp.sum(rise))) + jnp.sum(table)) / total

    def move(rise):
        least, table, _ = look(rise)
        rows, excess = jnp.sum(table, 1), jnp.sum(table, 0)[:-1] - total
        free = used & (rows > d * counts * (1 - _slack(values)))
        level = (rise[:-1] <= 0) & (excess <= 0)
        step = _newton_step(table[:, :-1], free, jnp.where(free, rows, 1), level, excess)
        shape = jnp.sum(values * jnp.exp(-least)[:, None], 0)[:-1] / total
        both = jnp.maximum(jnp.stack([rise[:-1] + step, jnp.log(jnp.maximum(shape, 1))]), 0)
        both = jnp.pad(both, [(0, 0), (0, 1)])
        newton, in_turn = jax.vmap(look)(both)[2]
        better = newton <= in_turn + 32 * finfo.eps * (1 + jnp.abs(in_turn))
        return jnp.where(better, both[0], both[1]), jnp.max(jnp.abs(step))

    def body(carry):
        left, rise = carry
        rise, length = move(rise)
        # From a step below `eps^(1/4)` two more, which square it each, leave rounding.
        near = (left > 2) & (length <= finfo.eps**0.25)
        return jnp.where(near, 2, left - 1), rise

    pooled = jnp.sum(values / jnp.where(used, counts, 1)[:, None], 0)
    log = jnp.log(jnp.maximum(pooled, jnp.maximum(8 * finfo.eps * pooled[0], finfo.tiny)))
    start = jnp.full((), _MOST_STEPS, jnp.int32), log - log[-1]
    return jax.lax.while_loop(lambda carry: carry[0] > 0, body, start)[1]


def _newton_step(table, free, rows, level, pull):
    """`(diag(column sums) - sum over free rows of row row^T / rows)^-1 pull`; 0 for columns that are `level`."""
    table, finfo = jnp.where(level[None], 0, table), jnp.finfo(table.dtype)
    columns = jnp.maximum(jnp.where(level, 1, jnp.sum(table, 0)), finfo.tiny)
    weight = jnp.where(free, 1 / rows, 0)
    hessian = linalg.diagonal_matrix(columns) - linalg.einsum("k,ki,kj->ij", weight, table, table)
    unit = jnp.sqrt(columns)
    # In these units no entry exceeds 1, and beside the ridge rounding cannot make the matrix indefinite.
    ridge = 8 * (unit.size + 1) * finfo.eps * jnp.eye(unit.size, dtype=unit.dtype)
    inverse = linalg.inverse_lower(linalg.cholesky(hessian / linalg.outer(unit, unit) + ridge))
    half = linalg.einsum("ij,j->i", inverse, jnp.where(level, 0, pull) / unit)
    return linalg.einsum("ij,i->j", inverse, half) / unit
