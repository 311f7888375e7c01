"""Hard EM adds the statistics of a row to those of its class: what the matrix product of zeros and ones gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem._bound import collect, collect_chosen
from jaxem.kernels.sums import unreduced
from jaxem.latent import Categorical
from jaxem.structures.labelled import with_labels

N, D, K = 60, 3, 4
FAMILIES = {
    "spherical": jaxem.Gaussian("spherical"),
    "diagonal": jaxem.Gaussian("diagonal"),
    "full": jaxem.Gaussian("full"),
    "tied": jaxem.Gaussian("tied"),
    "poisson": jaxem.Poisson(),
}


def problem(family, dtype="float64", labels=None):
    """A bound model, natural parameters ready for rows, rows, and weights some of which are 0."""
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.poisson(4, (N, D)), dtype)
    weights = jnp.asarray(rng.integers(0, 3, N), dtype)
    model = jaxem.Mixture(FAMILIES[family], K)
    data = x if labels is None else with_labels(x, labels)

    @jax.jit
    def prepared(x, data, weights):
        bound = model.bind(data, weights, unreduced)
        params = model.init(jax.random.key(0), x, weights)
        return bound, bound.prepare(bound.natural(bound.encode(params)))

    return *prepared(x, data, weights), data, weights


@jax.jit
def both(bound, natural, data, weights):
    """Statistics by adding rows to those of their class, and by the moments."""
    return (
        collect_chosen(bound, natural, data, weights),
        collect(bound, natural, data, weights, bound.latent.mode),
    )


def adds(bound, natural, data) -> bool:
    return bound.potentials_of(natural, data, jnp.zeros(N, jnp.int32)) is not None


def assert_same(found, expected, dtype="float64"):
    rtol = 1e-12 if dtype == "float64" else 2e-5
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == dtype
        size = np.abs(b, where=np.isfinite(b), out=np.zeros_like(b)).max()
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * (1 + size))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_the_moments(family, dtype):
    bound, natural, data, weights = problem(family, dtype)
    assert isinstance(bound.latent, Categorical)
    assert adds(bound, natural, data) == (family not in ("full", "tied"))
    assert_same(*both(bound, natural, data, weights), dtype)


def test_side_by_side():
    bound, natural, data, weights = problem("spherical")
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), natural)
    assert_same(*jax.jit(jax.vmap(both, (None, 0, None, None)))(bound, several, data, weights))


def test_rows_that_no_class_allows_add_nothing():
    labels = np.random.default_rng(0).integers(-1, K, N)
    bound, natural, data, weights = problem("spherical", labels=labels)
    without = natural._replace(members=natural.members._replace(rows=natural.members.rows.at[1, 0].set(-jnp.inf)))
    for each in (natural, without):
        assert adds(bound, each, data)
        found, expected = both(bound, each, data, weights)
        assert_same(found, expected)
    assert np.isneginf(found[1][labels == 1]).all()
    assert np.isfinite(found[1][labels != 1]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_k_means_has_the_inertia_of_another_program(dtype):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(300, 4)) + 3 * rng.integers(0, 3, (300, 1)) + 100).astype(dtype)
    start, weights = x[:5], np.array([0.0, 1.0, 2.0])[rng.integers(0, 3, 300)].astype(dtype)
    model = jaxem.GaussianMixture(5, "spherical", frozen=("weights", "components.covariance"))
    params = jaxem.models.MixtureParams(
        jnp.full(5, 0.2, dtype), jaxem.families.GaussianParams(jnp.asarray(start), jnp.ones(5, dtype))
    )
    solve = jax.jit(lambda params, x, w: jaxem.solve(model, params, x, weights=w, algorithm=jaxem.hard_em()))
    fit = solve(params, x, weights)
    peer = cluster.KMeans(5, init=start, n_init=1, tol=0, algorithm="lloyd").fit(x, sample_weight=weights)
    centres = np.asarray(fit.params.components.mean, float)
    inertia = np.sum(weights * ((x[:, None] - centres) ** 2).sum(2).min(1))
    np.testing.assert_allclose(inertia, peer.inertia_, rtol=1e-4 if dtype == "float32" else 1e-10)
    assert jaxem.status_name(fit.status) == "converged"
