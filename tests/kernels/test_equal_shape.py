from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from jaxem.kernels.equal_shape import equal_shape
from tests.helpers import oracles

K, D = 3, 4
run = jax.jit(partial(equal_shape, floor=1.0))


def scatters(spread=1.0, scale=1.0, flat=0.0):
    """Scatters whose axes have different ratios, the first of them nearly one of a single row, and counts."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((K, 12, D)) * np.exp(spread * rng.standard_normal((K, 1, D)))
    rows[0, 1:] *= 1 - flat
    rows = np.sqrt(scale) * rows @ np.linalg.qr(rng.standard_normal((K, D, D)))[0]
    return np.einsum("kni,knj->kij", rows, rows), rng.uniform(4, 30, K)


# None at the floor of 1; some; all; a line; and no rows at all in the first.
PROBLEMS = {
    "free": scatters(scale=1e3),
    "unlike": scatters(2.0, 1e6),
    "near": scatters(scale=3.0),
    "low": scatters(scale=0.01),
    "line": scatters(scale=1e6, flat=1.0),
    "point": (scatters(scale=1e3)[0] * np.array([0, 1, 1])[:, None, None], scatters()[1]),
}


@pytest.fixture(scope="module")
def found():
    """All problems in one batch."""
    scatter, counts = (jnp.asarray(np.stack(leaves)) for leaves in zip(*PROBLEMS.values(), strict=True))
    return dict(
        zip(PROBLEMS, np.asarray(jax.jit(jax.vmap(partial(equal_shape, floor=1.0)))(scatter, counts)), strict=True)
    )


def eigenvalues(covariance):
    """Descending."""
    return np.linalg.eigvalsh(np.asarray(covariance, float))[:, ::-1]


def close(a, b, tol):
    """Beside the largest entry of each matrix."""
    size = np.abs(b).max((-2, -1), keepdims=True)
    assert_allclose(a / size, b / size, atol=tol)


def minimum(scatter, counts):
    """Eigenvalues by L-BFGS-B over the logarithms of the least and of the ratios to it."""
    values = eigenvalues(scatter)

    def objective(u):
        least, rise = u[:K], np.append(u[K:], 0)
        table = values * np.exp(-least[:, None] - rise)
        value = counts @ (D * least + rise.sum()) + table.sum()
        return value, np.append(D * counts - table.sum(1), counts.sum() - table.sum(0)[:-1])

    start = np.append(np.log(np.maximum(values[:, 0] / counts, 1)), np.ones(D - 1))
    options = {"ftol": 1e-16, "gtol": 1e-9, "maxiter": 5000, "maxfun": 50_000}
    direct = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * start.size, options=options)
    return np.exp(direct.x[:K, None] + np.append(direct.x[K:], 0))


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_minimum_under_the_floor(name, found):
    expected = minimum(*PROBLEMS[name])
    assert_allclose(eigenvalues(found[name]), expected, rtol=1e-5)
    # Few rows are no reason for the floor: the others give them a shape.
    assert (expected[:, -1] == 1).any() == (name in ("near", "low", "point"))


@pytest.mark.parametrize("name", ["free", "unlike", "line"])
def test_the_iteration_of_celeux_and_govaert_ends_there(name, found):
    close(found[name], oracles.equal_shape(*PROBLEMS[name]), 1e-9)


def test_a_batch_is_what_each_is_alone(found):
    for name, problem in PROBLEMS.items():
        close(run(*map(jnp.asarray, problem)), found[name], 1e-9)


def test_single_precision_agrees(found):
    with jax.enable_x64(False):
        for name in ("free", "unlike", "near", "low", "point"):
            alone = run(*(jnp.asarray(leaf, jnp.float32) for leaf in PROBLEMS[name]))
            assert alone.dtype == jnp.float32
            close(alone, found[name], 2e-4 if name == "unlike" else 1e-5)


def test_members_without_weight_keep_volume_and_orientation():
    scatter, counts = PROBLEMS["free"]
    found = np.asarray(run(jnp.asarray(scatter), jnp.asarray(counts).at[0].set(0)))
    close(found[1:], oracles.equal_shape(scatter[1:], counts[1:]), 1e-9)
    assert_allclose(np.linalg.det(found[0]), np.linalg.det(scatter[0]), rtol=1e-9)
    close(found[0] @ scatter[0], scatter[0] @ found[0], 1e-9)
    assert_allclose(eigenvalues(found)[0] / eigenvalues(found)[0, 0], eigenvalues(found)[1] / eigenvalues(found)[1, 0])


def test_derivatives():
    """Forward against differences, and reverse its transpose; a member is at the floor, another has no weight."""
    rng = np.random.default_rng(1)
    scatter, counts = (leaf.copy() for leaf in PROBLEMS["near"])
    counts[0] = 0
    turn, by, pull = (
        rng.standard_normal((K, D, D)),
        np.append(0, rng.standard_normal(K - 1)),
        rng.standard_normal((K, D, D)),
    )

    def along(t):
        return equal_shape(scatter + t * (turn + turn.transpose(0, 2, 1)), counts + t * by, 1.0)

    @jax.jit
    def report(t):
        value, forward = jax.jvp(along, (t,), (jnp.ones_like(t),))
        return value, forward, jax.grad(lambda t: jnp.sum(pull * along(t)))(t)

    (up, *_), (value, forward, backward), (down, *_) = (report(t) for t in (1e-5, 0.0, -1e-5))
    assert_allclose(forward, (up - down) / 2e-5, rtol=1e-6, atol=1e-7)
    assert_allclose(backward, np.sum(pull * forward), rtol=1e-9)
    assert sorted(eigenvalues(value)[1:, -1] > 1 + 1e-9) == [False, True]


def test_derivatives_are_finite_where_eigenvalues_are_equal():
    scatter, counts = jnp.asarray(PROBLEMS["near"][0]).at[0].set(2 * jnp.eye(D)).at[1].set(0), jnp.ones(K)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(equal_shape(s, counts, 1.0) ** 2)))(scatter)
    assert np.isfinite(gradient).all()
