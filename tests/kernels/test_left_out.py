"""States given the past, and given all other steps, against sums over all paths."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxem.kernels import left_out


def chain(k=3, steps=4, n=2, seed=0, differ=False):
    rng = np.random.default_rng(seed)
    initial = np.log(rng.dirichlet(np.ones(k), size=n)).T
    moves = rng.dirichlet(np.ones(k), size=(steps - 1, n, k) if differ else (1, n, k))  # from, to last
    transition = np.log(np.transpose(moves, (0, 2, 3, 1)))
    local = rng.normal(size=(steps, k, n)) * 3
    return initial, transition if differ else transition[0], local


def by_paths(initial, transition, local, t, sequence, used, length):
    """Probabilities of the state of step `t`, from the steps `used` alone."""
    k = initial.shape[0]
    total = np.zeros(k)
    for path in itertools.product(range(k), repeat=length):
        log = initial[path[0], sequence] + sum(local[s, path[s], sequence] for s in used)
        for s in range(1, length):
            own = transition if transition.ndim == 3 else transition[s - 1]
            log += own[path[s - 1], path[s], sequence]
        total[path[t]] += np.exp(log)
    return total / total.sum()


@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_states_are_those_of_sums_over_paths(differ, short):
    factors = chain(differ=differ)
    lengths = [4, 2 if short else 4]
    ended = jnp.arange(4)[:, None] >= jnp.array(lengths)[None] if short else None
    arrays = tuple(map(jnp.asarray, factors))
    past, others = left_out.given_past(*arrays, ended), left_out.given_others(*arrays, ended)
    for sequence, length in enumerate(lengths):
        for t in range(length):
            wanted = by_paths(*factors, t, sequence, range(t), length)
            np.testing.assert_allclose(past[t, :, sequence], wanted, rtol=1e-10)
            rest = [s for s in range(length) if s != t]
            wanted = by_paths(*factors, t, sequence, rest, length)
            np.testing.assert_allclose(others[t, :, sequence], wanted, rtol=1e-10)
        assert (np.asarray(past[length:, :, sequence]) == 0).all()
        assert (np.asarray(others[length:, :, sequence]) == 0).all()


def test_one_step_has_the_initial_distribution():
    initial, transition, local = map(jnp.asarray, chain(steps=1))
    for found in (left_out.given_past(initial, transition, local), left_out.given_others(initial, transition, local)):
        np.testing.assert_allclose(found[0], np.exp(initial))


def test_what_cannot_be_stays_so_and_long_sequences_do_not_underflow():
    k, steps = 2, 2000
    initial = jnp.log(jnp.array([[1.0], [0.0]]))
    transition = jnp.log(jnp.array([[0.9, 0.1], [0.0, 1.0]]))[..., None]
    local = jnp.full((steps, k, 1), -50.0)
    found = left_out.given_others(initial, transition, local)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[0, 1, 0] == 0
