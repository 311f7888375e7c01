import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels.branch import refine_if


@pytest.fixture
def counted():
    """A refinement that says how often it ran."""
    calls = []

    def refine(x):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    def times():
        jax.effects_barrier()
        return len(calls)

    return refine, times


def test_refines_where_it_must(counted):
    refine, times = counted
    x = jnp.asarray([1.0, 2.0])
    np.testing.assert_array_equal(jax.jit(lambda p, x: refine_if(p, refine, x, x))(jnp.asarray(True), x), -x)
    assert times() == 1


def test_does_not_run_where_it_need_not(counted):
    refine, times = counted
    x = jnp.asarray([1.0, 2.0])
    np.testing.assert_array_equal(jax.jit(lambda p, x: refine_if(p, refine, x, x))(jnp.asarray(False), x), x)
    assert times() == 0


@pytest.mark.parametrize("pred", [[False, False, False], [False, True, False]])
def test_a_batch_runs_it_only_if_a_lane_needs_it(counted, pred):
    refine, times = counted
    pred, x = jnp.asarray(pred), jnp.asarray([1.0, 2.0, 3.0])
    out = jax.jit(jax.vmap(lambda p, x: refine_if(p, refine, x, x)))(pred, x)
    np.testing.assert_array_equal(out, np.where(pred, -x, x))
    assert (times() > 0) == bool(pred.any())


def test_nested_batches_and_an_operand_that_is_shared():
    pred = jnp.asarray([[True, False], [False, True]])
    x, shared = jnp.arange(4.0).reshape(2, 2), jnp.asarray(10.0)

    def one(p, x):
        return refine_if(p, lambda x, s: x + s, x, x, shared)

    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(one)))(pred, x), np.where(pred, x + 10, x))


def test_the_derivative_is_that_of_the_default_or_zero():
    def f(p, x):
        return refine_if(p, lambda x: 5 * x, 2 * x, x)

    for pred, slope in ((True, 0.0), (False, 2.0)):
        assert float(jax.grad(f, 1)(jnp.asarray(pred), jnp.asarray(1.0))) == slope
        assert (
            float(jax.jvp(lambda x, p=pred: f(jnp.asarray(p), x), (jnp.asarray(1.0),), (jnp.asarray(1.0),))[1]) == slope
        )
    slopes = jax.vmap(jax.grad(f, 1))(jnp.asarray([True, False]), jnp.ones(2))
    np.testing.assert_array_equal(slopes, [0.0, 2.0])
