from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxem.families import Gaussian, GaussianParams
from jaxem.priors import NormalInverseWishart
from tests.families import cases

structures = pytest.mark.parametrize(
    "structure",
    [pytest.param(name, marks=() if name in ("full", "spherical") else pytest.mark.slow) for name in cases.STRUCTURES],
)
K, N = 3, 600


def narrow(ratio, offset):
    """Three correlated clusters `ratio` times further apart than they are wide, held in float32, and who is whose."""
    rng = np.random.default_rng(6)
    labels = np.arange(N) % K
    centres = ratio * np.array([[0.0, 0.0], [1.0, 0.3], [-0.4, 0.9]])
    noise = rng.standard_normal((N, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    x = np.float32(centres[labels] + noise + offset)
    return x, (labels == np.arange(K)[:, None]).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def steps(structure, x, r):
    """The M-step by the product form, and two by the accurate kernel."""
    family = Gaussian(structure).bind(x, jnp.sum(r, 0), lambda tree: tree)
    start = params = family.from_points(x[:K], x, jnp.sum(r, 0))
    plain = family.maximize(cases.collect(family, start, x, r), start)
    for _ in range(2):
        slow = family.accurate().about(params)
        params = slow.maximize(cases.collect(slow, params, x, r), params)
    return (family.decode(plain), family.rounding_error(plain)), (family.decode(params), slow.rounding_error(params))


def in_both_precisions(structure, x, r):
    for wide in (False, True):
        with jax.enable_x64(wide):
            dtype = jnp.float64 if wide else jnp.float32
            yield jax.tree.map(np.asarray, steps(structure, jnp.asarray(x, dtype), jnp.asarray(r, dtype)))


@pytest.mark.parametrize(("ratio", "offset"), [(6.0, 1e4), (30.0, 0.0), (1e4, 0.0)])
@structures
def test_single_precision_agrees_with_double(structure, ratio, offset):
    """The accurate kernel far from the origin, and for clusters narrow beside their distance; the product form as
    closely as it says."""
    single, (_, (truth, _)) = in_both_precisions(structure, *narrow(ratio, offset))
    (plain, plain_loss), (accurate, loss) = single
    limit, size = np.sqrt(np.finfo(np.float32).eps), np.abs(truth.covariance).max()
    assert loss < limit
    assert_allclose(accurate.covariance, truth.covariance, rtol=2e-4, atol=2e-4 * size)
    assert_allclose(accurate.mean, truth.mean, rtol=1e-6, atol=1e-3)
    assert np.abs(plain.covariance - truth.covariance).max() < 4 * plain_loss * size
    assert (plain_loss > limit) == (ratio > 100)


@structures
def test_data_that_single_precision_cannot_hold_are_reported(structure):
    x, r = narrow(6.0, 1e8)

    @jax.jit
    def loss(x, r):
        family = Gaussian(structure).bind(x, jnp.sum(r, 0), lambda tree: tree).accurate()
        params = family.encode(GaussianParams(x[:K], Gaussian(structure).structure.identity(K, jnp.ones(2, x.dtype))))
        return family.rounding_error(params)

    assert loss(jnp.asarray(x), jnp.asarray(r)) > np.sqrt(np.finfo(np.float32).eps)


@structures
def test_covariances_stay_off_the_floor(structure, dtype):
    """A member with a single row: its variance is the floor, relative to the variance of the data."""
    x = jnp.asarray(cases.gaussian(structure).x, dtype) * jnp.asarray(1e3, dtype)
    r = jnp.ones((2, cases.N), dtype).at[0].set(0).at[0, 0].set(1)
    if structure == "tied":
        x = jnp.concatenate([x[:1]] * cases.N)

    @jax.jit
    def run(x, r):
        family = Gaussian(structure, floor=1e-4).bind(x, jnp.sum(r, 0), lambda tree: tree)
        start = family.from_points(x[:2], x, jnp.sum(r, 0))
        params = family.maximize(cases.collect(family, start, x, r), start)
        mended = family.pool(params, start, jnp.sum(r, 1))
        return family.decode(params), family.degenerate(params), family.degenerate(start), family.degenerate(mended)

    params, degenerate, at_start, after_mending = run(x, r)
    assert degenerate
    assert not at_start
    assert not after_mending
    variance = np.cov(np.asarray(x, float).T, bias=True, aweights=np.asarray(jnp.sum(r, 0)))
    scale = np.diag(variance) if structure != "spherical" else np.mean(np.diag(variance))
    if structure == "tied":
        scale = np.ones(2)
    found = np.asarray(params.covariance if structure == "tied" else params.covariance[0])
    found = np.diag(found) if found.ndim == 2 else found
    assert_allclose(found, 1e-4 * scale, rtol=1e-3)


@structures
def test_a_constant_column_with_a_prior(structure, dtype):
    """The prior makes up for the variance that the data lack, in the start and in what follows."""
    x = np.random.default_rng(7).standard_normal((cases.N, 2))
    x[:, 1] = 0.1
    scale = {"full": np.eye(2), "tied": np.eye(2), "diagonal": np.ones(2), "spherical": np.ones(())}[structure]
    family = Gaussian(structure, NormalInverseWishart(np.zeros(2), np.float32(0.5), 0.2 * scale, 4.0))
    family.check(x)

    @jax.jit
    def run(x, r):
        bound = family.bind(x, jnp.sum(r, 0), lambda tree: tree)
        params = bound.from_points(x[:2], x, jnp.sum(r, 0))
        params = bound.maximize(cases.collect(bound, params, x, r), params)
        return bound.decode(params).covariance, bound.log_prior(params), bound.degenerate(params)

    r = jnp.full((2, cases.N), 0.5, dtype)
    covariance, log_prior, degenerate = run(jnp.asarray(x, dtype), r)
    assert np.isfinite(log_prior)
    assert not degenerate
    count, extra = cases.N / 2, {"full": 8.0, "diagonal": 7.0}
    if structure in extra:
        found = covariance[0, 1] if structure == "diagonal" else covariance[0, 1, 1]
        pulled = 0.2 + 0.5 * count / (0.5 + count) * 0.1**2
        assert_allclose(found, pulled / (count + extra[structure]), rtol=1e-3)


def test_rows_that_are_refused():
    family = Gaussian()
    good = np.array([[1.0, 2.0], [3.0, 5.0]])
    family.check(good)
    with pytest.raises(ValueError, match=r"row 1, column 0 has value nan"):
        family.check(np.array([[1.0, 2.0], [np.nan, np.inf]]))
    with pytest.raises(ValueError, match=r"column 1 is constant"):
        family.check(np.array([[1.0, 2.0], [3.0, 2.0]]))
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        family.check(np.ones(3), "x")


def test_options_that_are_refused():
    with pytest.raises(ValueError, match="covariance must be one of full, diagonal"):
        Gaussian("round")
    with pytest.raises(ValueError, match="floor"):
        Gaussian(floor=-1.0)
