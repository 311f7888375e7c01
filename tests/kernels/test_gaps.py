"""Forms of normal rows with missing entries: marginal densities, and derivatives of every order, in all layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jaxem.kernels import gaps
from jaxem.kernels.gaps import Blocks

K, D = 2, 4


def problem(dtype="float64"):
    """Members' means and covariances, and 16 rows in blocks of 4: each lacks the same of the first two columns."""
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(K, D, D))
    mean, covariance = rng.normal(size=(K, D)), factor @ factor.swapaxes(1, 2) + np.eye(D)
    missing = np.repeat(np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool), 4, 0)
    missing = np.concatenate([missing, rng.random((16, 2)) < 0.5], 1)
    y = np.where(missing, 0, rng.normal(size=(16, D)))
    return mean, covariance, jnp.asarray(y, dtype), jnp.asarray(missing)


def forms_of(mean, covariance):
    precision = np.linalg.inv(covariance)
    edge = np.einsum("kij,kj->ki", precision, mean)
    constant = -(np.einsum("ki,ki->k", edge, mean) + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2
    found = np.zeros((K, D + 1, D + 1))
    found[:, 0, 0], found[:, 0, 1:], found[:, 1:, 0], found[:, 1:, 1:] = constant, edge / 2, edge / 2, -precision / 2
    return found


def oracle(mean, covariance, y, missing):
    found = np.zeros((K, len(y)))
    for j in range(K):
        for i, (row, gone) in enumerate(zip(np.asarray(y), np.asarray(missing), strict=True)):
            o = ~gone
            if o.any():
                found[j, i] = multivariate_normal.logpdf(row[o], mean[j][o], covariance[j][np.ix_(o, o)])
    return found


LAYOUTS = [None, Blocks(4, 2), Blocks(2, 2), Blocks(1, 0), Blocks(16, D)]


@pytest.mark.parametrize("blocks", LAYOUTS)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 2e-5)])
def test_densities_are_those_of_the_entries_that_are_there(blocks, dtype, rtol):
    mean, covariance, y, missing = problem(dtype)
    found = jax.jit(gaps.log_density, static_argnums=3)(
        jnp.asarray(forms_of(mean, covariance), dtype), y, missing, blocks
    )
    np.testing.assert_allclose(found, oracle(mean, covariance, y, missing), rtol=rtol, atol=rtol)


def test_derivatives_of_the_first_two_orders_are_those_without_blocks():
    mean, covariance, y, missing = problem()
    forms = jnp.asarray(forms_of(mean, covariance))
    towards = jnp.asarray(np.random.default_rng(6).normal(size=(K, D + 1, D + 1)))
    towards = towards + jnp.swapaxes(towards, 1, 2)

    def of(blocks):
        def value(t, y):
            return jnp.sum(jnp.sin(gaps.log_density(forms + t * towards * 0.01, y, missing, blocks)))

        def both(y):
            first = jax.value_and_grad(value)
            return jax.jvp(lambda t: first(t, y), (jnp.zeros(()),), (jnp.ones(()),))

        of_rows = jnp.where(missing, 0, jax.grad(lambda y: both(y)[1][1])(y))
        return both(y), of_rows

    plain, found = jax.jit(of, static_argnums=0)(Blocks(16, D)), jax.jit(of, static_argnums=0)(Blocks(4, 2))
    finite = jax.jit(lambda t: jnp.sum(jnp.sin(gaps.log_density(forms + t * towards * 0.01, y, missing, Blocks(1, 0)))))
    np.testing.assert_allclose(plain[0][0][1], (finite(1e-5) - finite(-1e-5)) / 2e-5, rtol=1e-6)
    for a, b in zip(*map(jax.tree.leaves, (found, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_precision_that_is_none_gives_no_number():
    _, _, y, missing = problem()
    forms = jnp.asarray(np.tile(np.eye(D + 1), (K, 1, 1)))
    value = gaps.log_density(forms, y, missing, None)
    assert np.isnan(np.asarray(value)[:, np.asarray(missing).any(1)]).all()


def test_more_missing_entries_than_unrolled_kernels_take():
    rng = np.random.default_rng(7)
    factor = rng.normal(size=(18, 18))
    precision, h = jnp.asarray(factor @ factor.T + np.eye(18)), jnp.asarray(rng.normal(size=18))
    covariance, mean, quadratic, log_det = jax.jit(gaps.solved)(precision[..., None], h[:, None])
    np.testing.assert_allclose(covariance[..., 0], np.linalg.inv(precision), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean[:, 0], np.linalg.solve(precision, h), rtol=1e-9)
    np.testing.assert_allclose(quadratic[0], h @ np.linalg.solve(precision, h), rtol=1e-9)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(precision)[1], rtol=1e-9)
