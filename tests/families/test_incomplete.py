"""Missing entries of Gaussian rows: marginal densities, expected statistics, and what is refused."""

from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import jaxem
from jaxem._bound import collect
from jaxem.testing import check_model
from tests.helpers import oracles, problems

K, D = 2, 3


@lru_cache
def rows():
    """Three columns with entries missing in all patterns; row 3 has none, row 5 all of them."""
    rng = np.random.default_rng(31)
    x = rng.normal(size=(24, D)) * [1.0, 2.0, 0.5] + [0.0, 3.0, -1.0]
    x[rng.random(x.shape) < 0.3] = np.nan
    x[3] = [0.5, 1.0, -1.0]
    x[5] = np.nan
    assert len({tuple(row) for row in np.isnan(x)}) == 2**D
    x.setflags(write=False)
    return x


@lru_cache
def start(kind):
    rng = np.random.default_rng(32)
    factor = rng.normal(size=(K, D, D))
    full = factor @ factor.swapaxes(1, 2) + np.eye(D)
    covariance = {"full": full, "tied": full[0], "diagonal": full[:, 0] ** 2, "spherical": full[:, 0, 0]}[kind]
    return np.array([0.3, 0.7]), rng.normal(size=(K, D)), covariance


def as_params(parts, dtype="float64"):
    weights, mean, covariance = (jnp.asarray(a, dtype) for a in parts)
    return jaxem.models.MixtureParams(weights, jaxem.families.GaussianParams(mean, covariance))


@eqx.filter_jit
def expect(model, params, x, w, anchored):
    """What the statistics say, in the data's coordinates, and the log density of each row."""
    bound = model.bind(x, w)
    bound = bound.accurate() if anchored else bound
    encoded = bound.encode(params)
    bound = bound.about(encoded)
    stats, value = collect(bound, bound.natural(encoded), x, w, bound.latent.expectation)
    return stats, bound.decode(bound.maximize(stats, encoded)), value + bound.log_base(x)


def given(mean, covariance, row):
    """Expected entries and their conditional covariance, by the regression on those that are there."""
    there, gone = ~np.isnan(row), np.isnan(row)
    filled, spread = row.copy(), np.zeros((D, D))
    weights = np.linalg.solve(covariance[np.ix_(there, there)], covariance[np.ix_(there, gone)])
    filled[gone] = mean[gone] + (row - mean)[there] @ weights
    spread[np.ix_(gone, gone)] = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, there)] @ weights
    return filled, spread


def one_step(kind, x):
    """Log densities, and parameters after one iteration, row by row."""
    weights, mean, covariance = start(kind)
    dense = oracles.dense(covariance, kind, K, D)
    log, filled, spread = np.zeros((len(x), K)), np.zeros((len(x), K, D)), np.zeros((len(x), K, D, D))
    for i, row in enumerate(x):
        o = ~np.isnan(row)
        for j in range(K):
            log[i, j] = np.log(weights[j])
            if o.any():
                log[i, j] += multivariate_normal.logpdf(row[o], mean[j][o], dense[j][np.ix_(o, o)])
            filled[i, j], spread[i, j] = given(mean[j], dense[j], row)
    density = np.logaddexp.reduce(log, 1)
    r = np.exp(log - density[:, None])
    seen = r * (~np.isnan(x).all(1))[:, None]
    count = seen.sum(0)
    centre = np.einsum("nk,nkd->kd", seen, filled) / count[:, None]
    about = filled - centre
    scatter = np.einsum("nk,nkij->kij", seen, spread + about[..., :, None] * about[..., None, :])
    squares = np.diagonal(scatter, axis1=1, axis2=2)
    moved = {
        "full": scatter / count[:, None, None],
        "tied": scatter.sum(0) / count.sum(),
        "diagonal": squares / count[:, None],
        "spherical": squares.sum(1) / (D * count),
    }[kind]
    return density, (r.mean(0), centre, moved)


FAST = {("full", False), ("diagonal", True)}
EVERY = [
    pytest.param(kind, anchored, marks=() if (kind, anchored) in FAST else pytest.mark.slow)
    for kind in problems.COVARIANCES
    for anchored in (False, True)
]


@pytest.mark.parametrize(("kind", "anchored"), EVERY)
def test_densities_and_statistics_are_those_of_the_conditional_distributions(kind, anchored):
    x, model = jnp.asarray(rows()), jaxem.GaussianMixture(K, kind, missing=True)
    _, params, value = expect(model, as_params(start(kind)), x, jnp.ones(len(x)), anchored)
    density, expected = one_step(kind, rows())
    np.testing.assert_allclose(value, density, rtol=1e-12, atol=1e-12)
    assert abs(value[5]) < 1e-15
    for a, b in zip(jax.tree.leaves(params), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("anchored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_complete_rows_are_plain_gaussian_rows(anchored):
    x = np.where(np.isnan(rows()), 0.3, rows())
    x, w, params = jnp.asarray(x), jnp.ones(len(x)), as_params(start("full"))
    plain = expect(jaxem.GaussianMixture(K), params, x, w, anchored)
    filled = expect(jaxem.GaussianMixture(K, missing=True), params, x, w, anchored)
    for a, b in zip(*map(jax.tree.leaves, (filled, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_row_without_any_entry_adds_nothing_to_the_statistics():
    model, params = jaxem.GaussianMixture(K, missing=True), as_params(start("full"))
    x, w = jnp.asarray(rows()), jnp.ones(len(rows()))
    with_it, without = (expect(model, params, x, w, False)[0], expect(model, params, x, w.at[5].set(0.0), False)[0])
    for a, b in zip(*map(jax.tree.leaves, (with_it.components, without.components)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(with_it.log_weights - without.log_weights, [0.3, 0.7], rtol=1e-12)


@pytest.mark.slow
def test_an_offset_costs_single_precision_nothing():
    """An offset of 1e4 that float32 holds exactly moves the means, and changes nothing else."""
    x = np.round(rows() * 64) / 64
    parts, w = start("full"), jnp.ones(len(x))
    here = expect(jaxem.GaussianMixture(K, missing=True), as_params(parts), jnp.asarray(x), w, False)
    moved = (parts[0], parts[1] + 1e4, parts[2])
    single = expect(
        jaxem.GaussianMixture(K, missing=True),
        as_params(moved, "float32"),
        jnp.asarray(x + 1e4, jnp.float32),
        w.astype(jnp.float32),
        False,
    )
    np.testing.assert_allclose(single[1].components.mean - 1e4, here[1].components.mean, atol=2e-3)
    np.testing.assert_allclose(single[1].components.covariance, here[1].components.covariance, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(single[2], here[2], atol=5e-3)


def test_missing_entries_have_no_say_in_the_frame():
    x = jnp.asarray(rows())
    frame: Any = jaxem.Incomplete(jaxem.Gaussian()).bind(x, jnp.ones(len(x)), lambda tree: tree).base.frame
    np.testing.assert_allclose(frame.shift, np.nanmean(rows(), 0), rtol=1e-12)
    np.testing.assert_allclose(frame.scale, np.nanstd(rows(), 0), rtol=1e-12)


def test_refusals():
    x = np.array(rows())
    family, plain = jaxem.Incomplete(jaxem.Gaussian()), jaxem.Gaussian()
    family.check(x)
    with pytest.raises(jaxem.DataError, match=r"row 5, column 0 has value nan.*missing=True"):
        plain.check(np.where(np.arange(len(x))[:, None] == 5, x, 0.0))
    with pytest.raises(jaxem.DataError, match=r"column 1 has no entry that is not missing"):
        family.check(np.where(np.arange(D) == 1, np.nan, x))
    with pytest.raises(jaxem.DataError, match=r"row 3, column 2 has value inf"):
        family.check(np.where((x == x[3, 2]) & (np.arange(D) == 2), np.inf, x))
    with pytest.raises(jaxem.DataError, match=r"column 0 is constant \(value 7.0\)"):
        family.check(np.where((np.arange(D) == 0) & ~np.isnan(x), 7.0, x))
    with pytest.raises(jaxem.DataError, match=r"shape \[rows, columns\]"):
        family.check(x[0])
    with pytest.raises(ValueError, match=r"got Poisson"):
        jaxem.Incomplete(jaxem.Poisson())  # pyright: ignore[reportArgumentType]
    with pytest.raises(jaxem.MissingCapabilityError, match="takes no missing entries"):
        jaxem.GaussianMixture(K).impute(as_params(start("full")), jnp.asarray(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", problems.COVARIANCES)
def test_the_contract(kind):
    check_model(jaxem.GaussianMixture(K, kind, missing=True), as_params(start(kind)), jnp.asarray(rows()))
