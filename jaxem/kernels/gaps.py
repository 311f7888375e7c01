"""Normal rows with missing entries: their log density, a quadratic form, with these entries integrated out.

A form is a symmetric matrix `[d + 1, d + 1]`: the log density of a complete row `y` is `(1, y) form (1, y)^T`. With the
missing entries integrated out it is that of the others, with another form and a constant. The derivative in the form is
what EM takes for `(1, y)^T (1, y)`: the products expected given the entries that are there (Fisher's identity;
Dempster, Laird and Rubin 1977, section 2).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxem.kernels import linalg, small
from jaxem.kernels.chunks import num_shards

_LOG_TWO_PI = math.log(2 * math.pi)
_ROWS = 256  # in a block where rows share nothing


class Blocks(NamedTuple):
    """Of a table whose rows lie in blocks of `rows`, from the first on.

    The rows of a block lack the same entries, but for those of the last `apart` columns.
    """

    rows: int
    apart: int = 0


def log_density(
    forms: Float[Array, "k p p"], y: Float[Array, "n d"], missing: Bool[Array, "n d"], blocks: Blocks | None
) -> Float[Array, "k n"]:
    """The log density of rows `y`, 0 where entries are `missing`, which are integrated out.

    Without `blocks` any row may lack any entries. One block after the other, so that all of it stays in a cache: a
    batched matrix product, and its transpose above all, took ten times as long on a CPU (jaxlib 0.10). Blocks are of
    rows that lie on one device, each of which has the forms to itself.
    """
    shards = num_shards(y, missing) if blocks is None else 1
    if shards == 1:
        return _in_blocks(forms, y, missing, blocks)
    own = jnp.broadcast_to(forms, (shards, *forms.shape))
    y, missing = (a.reshape(shards, -1, a.shape[1]) for a in (y, missing))
    value = jax.vmap(lambda forms, y, missing: _in_blocks(forms, y, missing, None))(own, y, missing)
    return jnp.swapaxes(value, 0, 1).reshape(forms.shape[0], -1)


def _in_blocks(
    forms: Float[Array, "k p p"], y: Float[Array, "n d"], missing: Bool[Array, "n d"], blocks: Blocks | None
) -> Float[Array, "k n"]:
    (n, d), k = y.shape, forms.shape[0]
    rows, apart = (min(n, _ROWS), d) if blocks is None else blocks
    y, missing = (jnp.pad(a, ((0, -n % rows), (0, 0))) for a in (y, missing))
    y, missing = (jnp.swapaxes(a.reshape(-1, rows, d), 1, 2) for a in (y, missing))
    y = jnp.concatenate([jnp.ones_like(y[:, :1]), y], 1)
    together = d - apart

    @jax.checkpoint
    def of_block(forms, y, missing):
        return _each_apart(forms, y, missing[together:]) if apart else _product(forms, y)

    if together:
        reduced, constant = integrated(forms, missing[:, :together, 0])
        value = jax.lax.map(lambda block: of_block(*block), (reduced, y, missing)) + constant[:, :, None]
    else:
        value = jax.lax.map(lambda block: of_block(forms, *block), (y, missing))
    return jnp.swapaxes(value, 0, 1).reshape(k, -1)[:, :n]


def _product(forms: Float[Array, "k p p"], y: Float[Array, "p m"]) -> Float[Array, "k m"]:
    """All forms at all rows: a matrix product."""
    return linalg.matmul(linalg.pack_symmetric(forms), linalg.products(y))


def _each_apart(
    forms: Float[Array, "k p p"], y: Float[Array, "p m"], missing: Bool[Array, "h m"]
) -> Float[Array, "k m"]:
    """The forms with entries of the last columns integrated out, which each row lacks by itself."""
    (k, p, _), (h, m) = forms.shape, missing.shape
    moved = linalg.matmul(forms.reshape(k * p, p), y).reshape(k, p, m)
    value = linalg.sum_features(jnp.broadcast_to(y[None], moved.shape) * moved)
    # The missing entries first, so that rows lie side by side.
    gone = missing[:, None]
    gradient = jnp.moveaxis(2 * moved[:, p - h :], 1, 0)
    precision = jnp.moveaxis(-2 * forms[:, p - h :, p - h :], 0, -1).reshape(-1, 1)
    # A product, since its transpose is one too, where that of a broadcast is a slower sum.
    precision = linalg.matmul(precision, jnp.ones((1, m), y.dtype)).reshape(h, h, k, m)
    _, _, quadratic, log_det = solved(*_with_unit(precision, gradient, gone))
    return value + (quadratic - log_det + _LOG_TWO_PI * _count(gone, value.dtype)) / 2


@jax.custom_jvp
def integrated(
    forms: Float[Array, "k p p"], missing: Bool[Array, "b f"]
) -> tuple[Float[Array, "b k p p"], Float[Array, "b k"]]:
    """Forms of rows that lack the same of their first `f` entries, and constants to be added."""
    _, constant, gain = _regression(forms, missing)
    f = missing.shape[1]
    return forms[None] + linalg.matmul(forms[None, :, :, 1 : f + 1], gain), constant


@integrated.defjvp
def _(primals, tangents):
    forms, missing = primals
    p, f, moved = forms.shape[-1], missing.shape[1], tangents[0]
    covariance, constant, gain = _regression(forms, missing)
    reduced = forms[None] + linalg.matmul(forms[None, :, :, 1 : f + 1], gain)
    # A row, completed by the expected entries, as a linear map of what is there.
    completed = jnp.eye(p, dtype=forms.dtype)[None, None] + jnp.pad(gain, ((0, 0), (0, 0), (1, p - f - 1), (0, 0)))
    d_reduced = linalg.matmul(linalg.transpose(completed), linalg.matmul(moved[None], completed))
    d_constant = jnp.sum(covariance * moved[None, :, 1 : f + 1, 1 : f + 1], (-2, -1))
    return (reduced, constant), (d_reduced, d_constant)


def _regression(
    forms: Float[Array, "k p p"], missing: Bool[Array, "b f"]
) -> tuple[Float[Array, "b k f f"], Float[Array, "b k"], Float[Array, "b k f p"]]:
    """The missing entries given those that are there: covariance, log-normalizer and coefficients of the mean."""
    (k, *_), (b, f) = forms.shape, missing.shape
    gone = missing.T[:, :, None]
    precision = jnp.moveaxis(-2 * forms[:, 1 : f + 1, 1 : f + 1], 0, -1)[:, :, None]
    covariance, _, _, log_det = solved(*_with_unit(precision, jnp.zeros((f, b, k), forms.dtype), gone))
    covariance = jnp.where(_both(gone), covariance, 0)
    covariance = jnp.moveaxis(covariance, (0, 1), (-2, -1))
    constant = (_LOG_TWO_PI * _count(gone, forms.dtype) - log_det) / 2
    return covariance, constant, linalg.matmul(covariance, 2 * forms[None, :, 1 : f + 1])


def _with_unit(precision: Array, gradient: Array, gone: Array) -> tuple[Array, Array]:
    """Precisions and gradients in which what is there is independent, with mean 0 and variance 1."""
    q, shape = precision.shape[0], gradient.shape[1:]
    eye = jnp.eye(q, dtype=precision.dtype).reshape(q, q, *(1,) * len(shape))
    both = _both(jnp.broadcast_to(gone, gradient.shape))
    full = jnp.where(both, jnp.broadcast_to(precision, both.shape), jnp.broadcast_to(eye, both.shape))
    return full, jnp.where(jnp.broadcast_to(gone, gradient.shape), gradient, 0)


def _both(gone: Array) -> Array:
    return gone[:, None] & gone[None]


def _count(gone: Array, dtype) -> Array:
    return jnp.sum(gone.astype(dtype), 0)


@jax.custom_jvp
def solved(precision: Float[Array, "q q ..."], h: Float[Array, "q ..."]) -> tuple[Array, Array, Array, Array]:
    """`J^-1`, `J^-1 h`, `h^T J^-1 h` and `log det J` of precisions `J`, features first; NaN where there is none."""
    if h.shape[0] <= small.SMALL:
        return small.sweep(precision, h)
    factor = linalg.cholesky(jnp.moveaxis(precision, (0, 1), (-2, -1)))
    inverse = linalg.inverse_lower(factor)
    whitened = linalg.matmul(inverse, jnp.moveaxis(h, 0, -1)[..., None])
    mean = linalg.matmul(linalg.transpose(inverse), whitened)[..., 0]
    covariance = jnp.moveaxis(linalg.matmul(linalg.transpose(inverse), inverse), (-2, -1), (0, 1))
    quadratic, log_det = jnp.sum(whitened[..., 0] ** 2, -1), 2 * linalg.half_log_det(factor)
    return covariance, jnp.moveaxis(mean, -1, 0), quadratic, log_det


@solved.defjvp
def _(primals, tangents):
    found = solved(*primals)
    covariance, mean, *_ = found
    d_precision, d_h = tangents
    moved = jnp.sum(d_precision * mean[None], 1)
    d_mean = jnp.sum(covariance * (d_h - moved)[None], 1)
    inner = linalg.einsum("ij...,jk...->ik...", d_precision, covariance)
    d_covariance = -linalg.einsum("ij...,jk...->ik...", covariance, inner)
    d_quadratic = jnp.sum(mean * (2 * d_h - moved), 0)
    d_log_det = jnp.sum(covariance * d_precision, (0, 1))
    return found, (d_covariance, d_mean, d_quadratic, d_log_det)
