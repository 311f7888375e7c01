"""The forms that the kernel of normal distributions chooses from are one map."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._bound import collect, rows_per_chunk
from jaxem.families.kernels._gaussian_trees import GaussianParams, UpperBlocks
from jaxem.kernels.chunks import sum_chunks
from jaxem.kernels.sums import unreduced

STRUCTURES = {"full": 40, "VEV": 40, "tied": 12}
MANY = 10**6  # lanes for which expanded rows are the best form at any of these shapes


@cache
def problem(covariance, dtype, members=2, n=150):
    """A bound mixture, its parameters, rows and weights; the last rows count for nothing and hold nonsense."""
    d = STRUCTURES.get(covariance, 6)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d)) @ (np.eye(d) + 0.1 * rng.standard_normal((d, d))) + 3
    weights = rng.random(n)
    x[-7:], weights[-7:] = 1e3, 0
    x, weights = jnp.asarray(x, dtype), jnp.asarray(weights, dtype)

    @jax.jit
    def start(x, weights):
        bound = jaxem.GaussianMixture(members, covariance=covariance).bind(x, weights, unreduced)
        return bound, bound.init(jax.random.key(0), x, weights)

    bound, params = start(x, weights)
    moved = params.components.mean + jnp.asarray(0.1 * rng.standard_normal((members, d)), dtype)
    return bound, params._replace(components=params.components._replace(mean=moved)), x, weights


def expected(bound, params, x, weights, rows=None):
    """Statistics in the coordinates of the kernel, and the log-likelihood but for its base."""
    bound = bound.about(params)
    prepared, pull = jax.vjp(bound.prepare, bound.natural(params))

    def one(chunk, w, index):
        stats, value = collect(bound, prepared, chunk, w, bound.latent.expectation)
        return stats, jnp.sum(w * value)

    stats, value = sum_chunks(one, x, weights, rows)
    return pull(stats)[0], value


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_columns_are_the_product_form(covariance, dtype):
    bound, params, x, weights = problem(covariance, dtype)
    of_other = jax.tree.map(lambda a: a.astype(np.float64), (params, x, weights))
    other = jaxem.GaussianMixture(2, covariance).bind(*of_other[1:], unreduced).for_lanes(MANY)
    kernels = [
        jax.eval_shape(lambda kernel, p: kernel.prepare(kernel.natural(p)), model.kernel, p.components)
        for model, p in ((bound, params), (other, of_other[0]))
    ]
    assert [isinstance(kernel, UpperBlocks) for kernel in kernels] == [True, False]
    tol = {"rtol": 2e-3, "atol": 2e-2} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    run = jax.jit(expected, static_argnames="rows")
    # Chunks of one, all rows at a time of the other.
    chunked, whole = run(bound, params, x, weights, 64), run(other, *of_other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tol), chunked, whole)


def correlated(d, condition, offset, alike):
    """Covariance of columns with variances of 1, whose eigenvalues are apart by `condition`, and a mean."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    covariance = (
        np.eye(d) / condition + np.ones((d, d)) / d if alike else turn * np.geomspace(1, 1 / condition, d) @ turn.T
    )
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale), offset * (np.ones(d) if alike else np.sign(rng.standard_normal(d)))


@jax.jit
def in_blocks(rows, exactly):
    """Log densities, the covariance that rows of weight 1 lead to, and the error that is estimated of both."""
    kernel = jaxem.GaussianMixture(1).bind(rows, jnp.ones(len(rows), rows.dtype), unreduced).kernel
    kernel = dataclasses.replace(kernel, frame=None)
    params, natural = jax.tree.map(lambda a: a.astype(rows.dtype), (exactly, kernel.natural(exactly)))
    assert kernel.in_blocks(params.mean)
    potentials, pull = jax.vjp(lambda natural: kernel.potentials(natural, rows), natural)
    (stats,) = pull(jnp.ones_like(potentials))
    return potentials, kernel.maximize(stats, params).covariance[0], kernel.rounding_error(params, natural)


@pytest.mark.parametrize("alike", [True, False], ids=["one wide direction", "all directions"])
@pytest.mark.parametrize("offset", [0, 10])
@pytest.mark.parametrize("condition", [10, 1e4])
@pytest.mark.parametrize("d", [40, pytest.param(160, marks=pytest.mark.slow)])
def test_the_error_of_rows_in_blocks_is_no_larger_than_estimated(d, condition, offset, alike):
    """Log densities and covariances in single precision, beside those in double precision of the same rows."""
    covariance, mean = correlated(d, condition, offset, alike)
    rng = np.random.default_rng(1)
    x = np.asarray(rng.standard_normal((2000, d)) @ np.linalg.cholesky(covariance).T + mean, np.float32)
    scale = np.float32(np.sqrt(1 + offset**2))
    exactly = GaussianParams(*(jnp.asarray(a, np.float64)[None] for a in (mean / scale, covariance / scale**2)))
    found = (in_blocks((x / scale).astype(dtype), exactly) for dtype in (np.float64, np.float32))
    (exact, truth, _), (rounded, near, error) = jax.tree.map(lambda a: np.asarray(a, float), tuple(found))
    whiten = np.linalg.inv(np.linalg.cholesky(truth))
    assert np.sqrt(np.mean((rounded - exact) ** 2)) < error
    assert np.linalg.norm(whiten @ (near - truth) @ whiten.T, 2) < error


@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("d", [100, pytest.param(200, marks=pytest.mark.slow)])
def test_plain_wide_rows_raise_no_doubt_in_single_precision(covariance, d):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, d)) @ (np.eye(d) + 0.03 * rng.standard_normal((d, d)))

    @jax.jit
    def error(x, weights):
        bound = jaxem.GaussianMixture(2, covariance).bind(x, weights, unreduced)
        return bound.rounding_error(bound.init(jax.random.key(0), x, weights))

    assert error(jnp.asarray(x, np.float32), jnp.ones(3000, np.float32)) < np.sqrt(np.finfo(np.float32).eps) / 2


@pytest.mark.parametrize("covariance", [*STRUCTURES, "diagonal", "spherical"])
def test_whitened_rows_have_the_same_statistics(covariance):
    bound, params, x, weights = problem(covariance, np.float64)
    slow = bound.accurate()
    run = jax.jit(expected)
    (fast, value), (found, own) = run(bound, params, x, weights), run(slow, params, x, weights)
    np.testing.assert_allclose(own, value, rtol=1e-11)
    new = jax.jit(lambda stats, model: model.about(params).maximize(stats, params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), new(found, slow), new(fast, bound)
    )


@pytest.mark.parametrize("covariance", STRUCTURES)
def test_members_whiten_themselves_to_the_last_digit(covariance):
    """So that the accurate kernel has no matrix product to do but that which whitens."""
    bound, params, _, _ = problem(covariance, np.float32)
    slow = bound.accurate()
    natural = jax.jit(lambda p: slow.about(p).natural(p))(params)
    quadratic = natural.components.quadratic
    eye = np.eye(quadratic.shape[-1], dtype=np.float32)
    np.testing.assert_array_equal(quadratic, np.broadcast_to(-eye / 2, quadratic.shape))
    np.testing.assert_array_equal(natural.components.linear, 0)
    # The derivative is that of the map nevertheless.
    away = dataclasses.replace(slow.about(params).kernel)
    tangent = jax.tree.map(jnp.zeros_like, params.components)
    tangent = tangent._replace(covariance=params.components.covariance)
    moved = jax.jit(lambda p, t: jax.jvp(away.natural, (p,), (t,))[1])(params.components, tangent)
    np.testing.assert_allclose(moved.quadratic, np.broadcast_to(eye / 2, quadratic.shape), atol=1e-4)


def test_chunks_hold_what_is_expanded_in_cache():
    """Rows of 16 columns are expanded into 153 numbers; of 128 columns, into none."""
    for d, k, least, most in ((16, 16, 300, 600), (2, 3, 4000, 4096), (128, 4, 256, 256)):
        model = jaxem.GaussianMixture(k).bound()
        shapes = jaxem.models.MixtureParams(
            jnp.zeros(k), jaxem.families.GaussianParams(jnp.zeros((k, d)), jnp.zeros((k, d, d)))
        )
        assert least <= rows_per_chunk(model, shapes, 10**6, lanes=2) <= most
