import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jaxem.families import Categorical, CategoricalParams
from jaxem.kernels import exclusion
from jaxem.priors import Dirichlet
from tests.families import cases


def test_categories_of_probability_zero(dtype):
    params = CategoricalParams(jnp.asarray([[[0.0, 0.0, 1.0]], [[0.5, 0.25, 0.25]]], dtype))
    x = jnp.asarray([[2.0], [0.0]], dtype)
    family = Categorical(3)
    density, gradient = jax.jit(
        lambda p: (family.potentials(family.natural(p), x), jax.grad(lambda q: jnp.sum(family.natural(q)[0]))(p))
    )(params)
    assert density[0, 0] == 0
    assert np.isfinite(density).all()
    assert not exclusion.possible(density[0, 1])
    assert_allclose(density[1], np.log([0.25, 0.5]), rtol=1e-5)
    assert np.isfinite(gradient.probabilities).all()


def test_rows_outside_the_support_have_no_density(dtype):
    x = jnp.asarray([[2.0, 0.0], [3.0, 0.0], [0.0, 0.5], [-1.0, 0.0]], dtype)
    assert np.isfinite(Categorical(3).log_base(x)).tolist() == [True, False, False, False]


def test_dirichlet_mode(dtype):
    """Counts plus concentration less 1, shared out; a flat prior says nothing about a member without rows."""
    x = jnp.asarray([[0.0], [2.0], [2.0]], dtype)
    params = CategoricalParams(jnp.asarray([[[0.2, 0.3, 0.5]]] * 2, dtype))
    r = jnp.asarray([[1.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype)

    def mode(concentration):
        family = Categorical(3, Dirichlet(concentration))
        return family.maximize(cases.collect(family, params, x, r), params).probabilities

    found, flat = jax.jit(lambda: (mode(np.array([1.0, 1.5, 2.0])), mode(1.0)))()
    assert_allclose(found[:, 0], [[1 / 4, 0.5 / 4, 2.5 / 4], [0, 1 / 3, 2 / 3]], rtol=1e-5)
    assert_allclose(flat[:, 0], [[0.4, 0, 0.6], [0.2, 0.3, 0.5]], rtol=1e-5)


def test_starts_from_a_few_rows_do_not_rule_out_the_others(dtype):
    """Hard assignments leave zeros that EM could never undo; mending lifts them by one row's worth."""
    x = jnp.asarray([[0.0], [1.0], [1.0], [2.0]], dtype)
    family = Categorical(3)
    pooled = family.from_points(x[:2], x, jnp.ones(4, dtype))
    assert (pooled.probabilities > 0).all()
    assert_allclose(jnp.sum(pooled.probabilities, -1), 1, rtol=1e-5)
    hard = CategoricalParams(jnp.asarray([[[1.0, 0.0, 0.0]], [[0.0, 0.75, 0.25]]], dtype))
    mended = family.pool(hard, pooled, jnp.asarray([1.0, 3.0], dtype)).probabilities
    assert_allclose(mended[0], (hard.probabilities[0] + pooled.probabilities[0]) / 2, rtol=1e-5)
    assert_allclose(mended[1], (3 * hard.probabilities[1] + pooled.probabilities[1]) / 4, rtol=1e-5)


def test_rows_and_options_that_are_refused():
    Categorical(3).check(np.array([[0, 2], [1, 1]]))
    with pytest.raises(ValueError, match=r"row 0, column 1 has value 3.0, which is not one of the categories 0 to 2"):
        Categorical(3).check(np.array([[0.0, 3.0]]))
    with pytest.raises(ValueError, match=r"row 0, column 0 has value 0.5"):
        Categorical(3).check(np.array([[0.5, 1.0]]))
    for wrong in (1, 2.5, "3"):
        with pytest.raises(ValueError, match="num_categories must be an integer, at least 2"):
            Categorical(wrong)
    with pytest.raises(ValueError, match="concentration must be positive"):
        Dirichlet(np.array([1.0, -0.5]))
    with pytest.raises(ValueError, match="concentration must be at least 1 for a posterior-mode estimate"):
        Dirichlet(np.array([1.0, 0.5])).pseudo_counts((2,), float)
