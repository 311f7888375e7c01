"""The linear solvers of implicit derivatives: agreement, precision, memory."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxem
from jaxem.adjoint import Implicit
from jaxem.engine.adjoint.linear import pseudo_inverse


def rows(dtype, lanes=2):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((lanes, 30, 1)) + 3 * (np.arange(30) % 2)[:, None]
    return jnp.asarray(x, dtype)


def mean(x, adjoint):
    one = jnp.ones((2, 1), x.dtype)
    start = jaxem.models.MixtureParams(
        one[:, 0] / 2, jaxem.families.GaussianParams(jnp.asarray([[0.0], [3.0]], x.dtype), one)
    )
    tol = 1e-7 if x.dtype == jnp.float32 else 1e-12
    fit = jaxem.solve(jaxem.GaussianMixture(2, "diagonal"), start, x, tol=tol, adjoint=adjoint, history_size=1)
    return fit.params.components.mean[0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.optimized)])
def test_products_alone_give_the_same_derivatives(dtype):
    """Forward and in reverse, in lanes."""
    x = rows(dtype)

    @jax.jit
    @jax.vmap
    def both(x):
        loops = [Implicit(), Implicit(dense_limit=0)]
        forward = [jax.jvp(lambda x, a=a: mean(x, a), (x,), (jnp.sin(x),))[1] for a in loops]
        return forward, [jax.grad(lambda x, a=a: mean(x, a))(x) for a in loops]

    tight = 1e-6 if dtype == np.float64 else 2e-2
    for matrix, products in both(x):
        assert matrix.dtype == products.dtype == dtype
        np.testing.assert_allclose(products, matrix, rtol=0, atol=tight * np.abs(matrix).max())


def test_no_solver_calls_the_host():
    for limit in (0, 1000):
        adjoint = Implicit(dense_limit=limit)
        program = jax.make_jaxpr(jax.grad(lambda x, a=adjoint: mean(x, a)))(rows(np.float64)[0])
        assert "while" in str(program)
        assert "callback" not in str(program)


@pytest.mark.optimized
def test_a_solver_that_fails_gives_nan():
    adjoint = Implicit(linear_solver=lx.GMRES(rtol=1e-12, atol=1e-12, restart=1, max_steps=1), unconverged="as_is")
    assert np.all(np.isnan(jax.jit(jax.grad(lambda x: mean(x, adjoint)))(rows(np.float64)[0])))


@pytest.mark.slow
def test_the_matrix_takes_no_more_memory_than_a_few_fits():
    """300 parameters: all products with the matrix at once would take 280 times what the fit takes."""
    k, d, n = 7, 21, 4000
    model = jaxem.GaussianMixture(k, "diagonal")
    start = jaxem.models.MixtureParams(
        jnp.full(k, 1 / k), jaxem.families.GaussianParams(jnp.zeros((k, d)), jnp.ones((k, d)))
    )

    def one(x):
        return jaxem.solve(model, start, x).params.components.mean[0, 0]

    programs = (one, jax.grad(one), lambda x: jax.jvp(one, (x,), (x,))[1])
    shape = jax.ShapeDtypeStruct((n, d), np.float64)
    sizes = [jax.jit(fn).lower(shape).compile().memory_analysis().temp_size_in_bytes for fn in programs]
    assert max(sizes[1:]) < 20 * sizes[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_directions_are_told_apart_whatever_the_units(dtype):
    """A singular matrix in units a million apart: the others are solved for, and the lost ones are named."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((4, 4))
    whole = whole @ whole.T / np.linalg.norm(whole @ whole.T, 2)
    whole[3] = whole[:, 3] = 0
    whole[:3, :3] += 0.1 * np.eye(3)
    units = np.array([1e-3, 1.0, 1e3, 1.0])
    matrix = jnp.asarray(units[:, None] * whole / units[None, :], dtype)
    found = pseudo_inverse(matrix, jnp.zeros(4, dtype), jnp.ones(4, dtype))
    expected = units[:, None] * np.linalg.pinv(whole) / units[None, :]
    np.testing.assert_allclose(found.inverse, expected, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=1e-12)
    assert found.loose.tolist() == [False, False, False, True]
