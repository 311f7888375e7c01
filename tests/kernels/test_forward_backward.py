"""The recursions against enumeration of all paths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import forward_backward as fb
from tests.helpers import chains

run = jax.jit(fb.forward_backward, static_argnums=(4, 5))
run_log = jax.jit(fb.forward_backward_log)


def ended(steps, lengths):
    return jnp.asarray(np.arange(steps)[:, None] >= lengths[None])


def assert_moments(found, expected, tol=1e-12):
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
    np.testing.assert_allclose(found[1], expected[1], rtol=tol)


CASES = {"shared": chains.potentials, "stepwise": chains.stepwise}


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_moments_are_enumeration(case, blocks):
    *p, lengths = CASES[case]()
    p = [jnp.asarray(a) for a in p]
    over = ended(6, lengths)
    assert_moments(run(*p, over, False, blocks), chains.moments(*map(np.asarray, p), lengths))
    (_, _), unsafe = fb._scaled(*p, over, False, blocks)
    assert not unsafe.any()
    if blocks == 1:
        assert_moments(run_log(*p, over), chains.moments(*map(np.asarray, p), lengths))


def test_stretches_of_time_and_one_step_after_the_other_agree():
    initial, transition, local, _ = (jnp.asarray(a) for a in chains.potentials(301, 4, 3))
    shared = jnp.broadcast_to(transition[..., :1], transition.shape)
    one, many = (run(initial, shared, local, None, True, blocks) for blocks in (1, 17))
    assert_moments(many, one, 1e-11)
    assert_moments(run_log(initial, shared, local), one, 1e-11)
    np.testing.assert_allclose(one[0].local.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(one[0].transition.sum((0, 1)), 300, rtol=1e-12)


def test_one_step_has_no_transition_of_its_own():
    initial, _, local, _ = (jnp.asarray(a) for a in chains.potentials(1, 3, 2))
    found = run(initial, jnp.zeros((0, 3, 3, 2)), local)
    assert found[0].transition.shape == (0, 3, 3, 2)
    np.testing.assert_allclose(found[1], jax.nn.logsumexp(initial + local[0], 0), rtol=1e-12)


@pytest.mark.slow
def test_many_states_are_multiplied_by_matrix_products():
    initial, transition, local, _ = (jnp.asarray(a) for a in chains.potentials(9, 18, 2))
    assert_moments(run(initial, transition, local, None, False, 1), run_log(initial, transition, local))
    shared = jnp.broadcast_to(transition[..., :1], transition.shape)
    assert_moments(run(initial, shared, local, None, True, 2), run_log(initial, shared, local))
    each = jnp.asarray(chains.stepwise(9, 18, 2)[1])
    assert_moments(run(initial, each, local, None, False, 2), run_log(initial, each, local))


@pytest.mark.parametrize("blocks", [1, 17])
def test_steps_with_the_same_transitions_are_a_chain_that_shares_them(blocks):
    initial, transition, local, _ = (jnp.asarray(a) for a in chains.potentials(301, 4, 3))
    each = jnp.broadcast_to(transition, (300, *transition.shape))
    expected = run(initial, transition, local, None, False, 1)
    for found in (run(initial, each, local, None, False, blocks), run_log(initial, each, local)):
        summed = found[0]._replace(transition=found[0].transition.sum(0))
        assert_moments((summed, found[1]), expected, 1e-11)


@pytest.mark.parametrize("case", CASES)
def test_moments_are_the_derivative_of_the_log_normalizer_and_have_derivatives(case):
    *p, lengths = CASES[case]()
    p = tuple(jnp.asarray(a) for a in p)
    over = ended(6, lengths)

    @jax.jit
    def derivatives(p, tangents):
        def value(p):
            return fb.forward_backward(*p, over)[1].sum()

        def weighed(p):
            return sum(jnp.sum(jnp.sin(m)) for m in fb.forward_backward(*p, over)[0])

        return jax.grad(value)(p), jax.jvp(jax.grad(value), (p,), (tangents,))[1], jax.grad(weighed)(p)

    tangents = jax.tree.map(jnp.cos, p)
    gradient, second, reverse = derivatives(p, tangents)
    moments, _ = run(*p, over, False, 1)
    for a, b in zip(gradient, moments, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    step = 1e-5
    up, down = (run(*jax.tree.map(lambda a, t, s=s: a + s * t, p, tangents), over, False, 1)[0] for s in (step, -step))
    for a, u, d in zip(second, up, down, strict=True):
        np.testing.assert_allclose(a, (u - d) / (2 * step), atol=1e-8)
    change = sum(float(jnp.sum(r * t)) for r, t in zip(reverse, tangents, strict=True))
    difference = sum(float(jnp.sum(jnp.sin(u) - jnp.sin(d))) for u, d in zip(up, down, strict=True)) / (2 * step)
    np.testing.assert_allclose(change, difference, rtol=1e-7, atol=1e-10)


def left_to_right(steps, lengths=None):
    """No way back from the second state, and evidence that first speaks for it and then, more strongly, against it."""
    initial, transition = np.array([[0.0], [-np.inf]]), np.log([[0.5, 0.5], [1e-300, 1.0]])[..., None]
    transition[1, 0] = -np.inf
    local = np.zeros((steps, 2, 1))
    local[: steps // 2, 1], local[steps // 2 :, 0] = 300.0, 400.0
    return initial, transition, local


@pytest.mark.parametrize(("dtype", "blocks"), [(np.float32, 1), (np.float64, 3)])
def test_a_path_that_comes_back_from_nothing_is_not_lost(dtype, blocks):
    p = left_to_right(8)
    expected = chains.moments(*p, [8])
    arrays = [jnp.asarray(a.astype(dtype)) for a in p]
    assert fb._scaled(*arrays, None, False, blocks)[1].all()
    found = run(*arrays, None, False, blocks)
    assert found[0].local[0, 0, 0] == 1
    assert_moments(found, expected, 1e-12 if dtype == np.float64 else 1e-6)


def test_an_impossible_sequence_has_no_moments_and_no_nan():
    *p, lengths = chains.potentials()
    p = [np.array(a) for a in p]
    p[2][2, :, 0] = -np.inf
    p[1][0, :, 2] = -np.inf
    arrays = tuple(jnp.asarray(a) for a in p)
    over = ended(6, lengths)
    found = run(*arrays, over, False, 1)
    with np.errstate(invalid="ignore"):
        assert_moments(found, chains.moments(*p, lengths))
    assert found[1][0] == -np.inf
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(fb.forward_backward(*p, over)[1][1:])))(arrays)
    assert all(np.isfinite(g).all() for g in gradient)


def test_one_step_and_one_state():
    one = [jnp.asarray(a) for a in (np.log([[0.3], [0.7]]), np.zeros((2, 2, 1)), np.array([[[1.0], [2.0]]]))]
    expected = chains.moments(*map(np.asarray, one), [1])
    assert_moments(run(*one), expected)
    assert_moments(run_log(*one), expected)
    (first, pairs, every), value = run(jnp.zeros((1, 2)), jnp.zeros((1, 1, 2)), jnp.ones((5, 1, 2)))
    np.testing.assert_allclose(value, 5)
    np.testing.assert_allclose(pairs[0, 0], 4)
    assert (first == 1).all()
    assert (every == 1).all()


@pytest.mark.slow
def test_single_precision_is_double():
    initial, transition, local, _ = chains.potentials(301, 4, 3)
    for blocks in (1, 17):
        single, double = (
            run(*(jnp.asarray(a, dtype) for a in (initial, transition, local)), None, False, blocks)
            for dtype in (np.float32, np.float64)
        )
        assert single[1].dtype == jnp.float32
        assert_moments(single, double, 1e-4)


@pytest.mark.slow
def test_lanes_are_runs():
    *p, lengths = chains.potentials()
    p = [jnp.asarray(a) for a in p]
    over = ended(6, lengths)
    tilted = jnp.stack([p[2], 2 * p[2]])
    both = jax.jit(jax.vmap(partial(fb.forward_backward, p[0], p[1], ended=over)))(tilted)
    for i in range(2):
        assert_moments(jax.tree.map(lambda a, i=i: a[i], both), run(p[0], p[1], tilted[i], over), 1e-13)


def test_stretches_are_for_few_long_sequences():
    assert fb.num_blocks(5000, 5, 4) > 1
    assert fb.num_blocks(500, 5, 1000) == 1
    assert fb.num_blocks(10, 2, 1) == 1
