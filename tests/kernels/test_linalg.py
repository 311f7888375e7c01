import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxem.kernels import linalg


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def definite(rng):
    a = rng.standard_normal((3, 4, 4))
    return jnp.asarray(a @ np.swapaxes(a, 1, 2) + np.eye(4))


def test_packed_form_is_the_quadratic_form(rng):
    a, x = rng.standard_normal((3, 4, 4)), rng.standard_normal((4, 7))
    packed = linalg.matmul(linalg.pack_symmetric(jnp.asarray(a)), linalg.products(jnp.asarray(x)))
    np.testing.assert_allclose(packed, np.einsum("in,kij,jn->kn", x, a, x), rtol=1e-12, atol=1e-12)


def test_the_transpose_of_packing_is_a_symmetric_matrix_of_products(rng):
    """What makes the statistics of a covariance fall out of `vjp`."""
    x = jnp.asarray(rng.standard_normal((4, 1)))
    _, pull = jax.vjp(linalg.pack_symmetric, jnp.zeros((4, 4)))
    np.testing.assert_allclose(pull(linalg.products(x)[:, 0])[0], x @ x.T, rtol=1e-12)


@pytest.mark.parametrize("fn", [linalg.cholesky, linalg.eigh])
def test_decompositions_share_no_threads(fn):
    # Two calls with several matrices each, side by side on two threads, would wait for each other (jaxlib 0.10).
    shapes = jax.ShapeDtypeStruct((2, 3, 5, 5), jnp.float32)
    text = jax.jit(jax.vmap(jax.vmap(fn))).lower(shapes).compile().as_text()
    if jax.default_backend() != "cpu":
        pytest.skip("spreads them over threads on a CPU only")
    calls = [line for line in text.splitlines() if "lapack_" in line]
    assert calls
    assert all(re.search(r"operand_layout_constraints=\{f32\[(1,)*5,5\]", line) for line in calls)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_decompositions_of_any_batch(rng, shape, d):
    a = rng.standard_normal((*shape, d, d))
    a = a @ np.swapaxes(a, -1, -2) + np.eye(d)

    @jax.jit
    def decompositions(a):
        factor, (values, vectors) = linalg.cholesky(a), linalg.eigh(a)
        return factor, linalg.inverse_lower(factor), values, linalg.from_eigen(vectors, values)

    factor, inverse, values, whole = decompositions(a)
    np.testing.assert_allclose(factor, np.linalg.cholesky(a), atol=1e-12)
    np.testing.assert_allclose(inverse, np.linalg.inv(factor), atol=1e-12)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), atol=1e-12)
    np.testing.assert_allclose(whole, a, atol=1e-12)


@pytest.mark.parametrize("d", [2, 4])
def test_small_matrices_take_no_loop_over_them(d):
    """A call of LAPACK for each costs more than the work on it; all at once, it is elementwise."""
    shapes = jax.ShapeDtypeStruct((6, d, d), jnp.float32)
    traced = str(jax.make_jaxpr(jax.vmap(lambda a: linalg.inverse_lower(linalg.cholesky(a))))(shapes))
    assert not re.search(r"\b(while|scan|cholesky)\[", traced)


def test_there_is_no_factor_of_what_is_indefinite():
    a = jnp.array([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]]])
    factor = linalg.cholesky(a)
    assert np.isnan(np.diagonal(factor[0])).all()
    np.testing.assert_array_equal(factor[1], [[2, 0], [0, 1]])


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("pivot", [0.0, -3.0, np.nan])
def test_there_is_no_factor_of_what_is_not_positive(d, pivot):
    decompose = jax.jit(linalg.cholesky)
    for at in range(d):
        a = np.stack([np.diag(np.where(np.arange(d) == at, pivot, 4.0)), 4.0 * np.eye(d)])
        factor = decompose(a)
        wrong = np.isnan(factor[0])
        assert wrong.any() if np.isnan(pivot) else wrong[np.tril_indices(d)].all()
        np.testing.assert_array_equal(factor[1], 2 * np.eye(d))


def test_the_factor_is_that_of_the_symmetric_part(definite, rng):
    """Entry by entry too, or derivatives in the entries would not be those of the values."""
    skew = np.triu(rng.standard_normal(definite.shape), 1)
    lopsided = definite + jnp.asarray(skew - skew.swapaxes(-1, -2))
    decompose = jax.jit(linalg.cholesky)
    np.testing.assert_allclose(decompose(lopsided), decompose(definite), rtol=1e-12, atol=1e-12)
    check_grads(decompose, (lopsided,), order=1, rtol=1e-5)


def test_derivatives_of_eigenvalues_and_vectors(definite, rng):
    tangent = jnp.asarray(linalg.symmetrize(jnp.asarray(rng.standard_normal((3, 4, 4)))))
    ours, theirs = (
        jax.jit(lambda a, by, fn=fn: jax.jvp(fn, (a,), (by,))[1])(definite, tangent)
        for fn in (linalg.eigh, lambda a: tuple(jnp.linalg.eigh(a)))
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    # The sum of squares of the eigenvalues is that of the entries.
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(jax.vmap(linalg.eigh)(a)[0] ** 2)))(definite)
    np.testing.assert_allclose(gradient, 2 * definite, atol=1e-10)


def test_triangular_solves(definite, rng):
    factor = jnp.linalg.cholesky(definite)
    b = jnp.asarray(rng.standard_normal((4, 2)))
    solved = linalg.solve_lower(factor, b)
    assert solved.shape == (3, 4, 2)
    np.testing.assert_allclose(linalg.matmul(factor, solved), np.broadcast_to(b, (3, 4, 2)), atol=1e-12)
    np.testing.assert_allclose(
        linalg.matmul(linalg.inverse_lower(factor), factor), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-12
    )
    np.testing.assert_allclose(2 * linalg.half_log_det(factor), np.linalg.slogdet(definite)[1], rtol=1e-12)


def test_products_keep_single_precision(rng):
    """No default that could be TF32 or bfloat16 is left in the program."""
    a = jnp.ones((4, 4), jnp.float32)
    for fn in (linalg.matmul, lambda a, b: linalg.einsum("ij,jk->ik", a, b)):
        assert "HIGHEST" in str(jax.make_jaxpr(fn)(a, a))


@pytest.mark.parametrize("preset", linalg.PRESETS)
def test_products_of_several_narrow_ones_if_asked_for(preset):
    single, double = jnp.ones((4, 4), jnp.float32), jnp.ones((4, 4), jnp.float64)
    for fn in (linalg.matmul, lambda a, b: linalg.einsum("ij,jk->ik", a, b)):
        with jax.default_matmul_precision(preset):
            assert preset in str(jax.make_jaxpr(fn)(single, single))
            assert "HIGHEST" in str(jax.make_jaxpr(fn)(double, double))
            gradient = jax.make_jaxpr(jax.grad(lambda a: jnp.sum(fn(a, a))))(single)  # noqa: B023
            assert str(gradient).count(preset) >= 2
        for other in ("tensorfloat32", "bfloat16", "BF16_BF16_F32", None):
            with jax.default_matmul_precision(other):
                assert "HIGHEST" in str(jax.make_jaxpr(fn)(single, single))


def test_symmetrize_and_outer(rng):
    a, b = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(linalg.outer(jnp.asarray(a), jnp.asarray(b)), a[:, :, None] * b[:, None, :])
    square = linalg.symmetrize(jnp.asarray(rng.standard_normal((3, 4, 4))))
    np.testing.assert_array_equal(square, np.swapaxes(square, 1, 2))


@pytest.mark.parametrize("d", [64, 65, 200])
def test_a_factor_by_blocks_is_that_of_the_whole_matrix(rng, d):
    a = rng.standard_normal((2, 2 * d, d))
    a = np.einsum("kni,knj->kij", a, a) / d
    decompose = jax.jit(linalg.cholesky)
    np.testing.assert_allclose(decompose(a), np.linalg.cholesky(a), rtol=1e-9, atol=1e-12)
    for place in (0, d - 1):  # no factor: NaN, whichever block finds it
        broken = a.copy()
        broken[1, place, place] = -1
        lower = np.isnan(decompose(broken))[:, *np.tril_indices(d)]
        assert lower[1].all()
        assert not lower[0].any()


def test_only_what_is_wanted_is_decomposed(definite):
    wanted = jnp.array([True, False, True])
    values, vectors = jax.jit(linalg.eigh_where)(wanted, definite)
    exact = linalg.eigh(definite)
    np.testing.assert_array_equal(values[wanted], exact[0][wanted])
    np.testing.assert_array_equal(vectors[wanted], exact[1][wanted])
    np.testing.assert_array_equal(vectors[1], definite[1])
    lanes = jax.vmap(linalg.eigh_where, (0, None))(jnp.stack([wanted, ~wanted]), definite)
    np.testing.assert_array_equal(lanes[0][1, 1], exact[0][1])
    # Side by side as well, a matrix that is not wanted costs a look at a flag.
    text = jax.jit(jax.vmap(linalg.eigh_where, (0, None))).lower(jnp.stack([wanted, ~wanted]), definite).as_text()
    assert "stablehlo.case" in text
