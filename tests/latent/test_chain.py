"""The chain as a latent, against enumeration of all paths."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxem
from jaxem.latent import AbstractLatent, Chain, ChainTree, Nested, NestedTree
from tests.helpers import chains

LATENT = Chain()
expectation, mode = jax.jit(LATENT.expectation), jax.jit(LATENT.mode)


each = pytest.mark.parametrize("by_step", [False, True])


@lru_cache
def case(by_step=False):
    """Potentials, and the moments and log-normalizers that enumeration finds. Step 2 of sequence 0 is silent."""
    initial, transition, local, lengths = chains.stepwise() if by_step else chains.potentials()
    over = np.arange(6)[None] >= lengths[:, None]
    silent = np.zeros((4, 6), bool)
    silent[0, 2] = True
    moves = np.moveaxis(transition, 0, 3) if by_step else transition
    tree = ChainTree(*(jnp.asarray(a) for a in (initial, moves, local.transpose(1, 2, 0))))
    tree = tree._replace(ended=jnp.where(over, 0, -jnp.inf), silent=jnp.where(silent, 0, -jnp.inf))
    heard = np.where(silent.T[:, None], 0, local)
    (first, pairs, every), value = chains.moments(initial, transition, heard, lengths)
    every = np.where(silent.T[:, None], 0, every).transpose(1, 2, 0)
    pairs = np.moveaxis(pairs, 0, 3) if by_step else pairs
    return tree, (first, pairs, every), value, heard, lengths


@each
def test_moments_are_enumeration_and_the_gradient(by_step):
    tree, expected, value, *_ = case(by_step)

    @jax.jit
    def both(tree):
        return LATENT.expectation(tree), jax.grad(lambda t: LATENT.expectation(t)[1].sum())(tree)

    (moments, log_normalizer), gradient = both(tree)
    np.testing.assert_allclose(log_normalizer, value, rtol=1e-12)
    for found, slope, wanted in zip(moments[:3], gradient[:3], expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
        np.testing.assert_allclose(slope, wanted, atol=1e-12)
    assert not np.any(moments.ended)
    assert not np.any(moments.silent)


@each
def test_the_mode_is_the_best_of_all_paths(by_step):
    tree, _, _, heard, lengths = case(by_step)
    indicators, value = mode(tree)
    np.testing.assert_allclose(LATENT.pair(tree, indicators), value, rtol=1e-12)
    for s, length in enumerate(lengths):
        moves = np.asarray(tree.transition)[:, :, s]
        moves = np.moveaxis(moves, 2, 0) if by_step else moves
        paths, log = chains.enumerate_paths(tree.initial[:, s], moves, heard[..., s], length)
        np.testing.assert_allclose(value[s], log.max(), rtol=1e-12)
        best = paths[log.argmax()]
        wanted = (np.arange(3)[:, None] == best).astype(float)
        if s == 0:
            wanted[:, 2] = 0
        np.testing.assert_array_equal(indicators.local[:, s, :length], wanted)
        assert not np.any(indicators.local[:, s, length:])
        assert float(indicators.transition[:, :, s].sum()) == length - 1


@each
def test_draws_have_the_frequencies_of_paths(by_step):
    tree, expected, *_ = case(by_step)
    draws = 4000
    drawn = jax.jit(jax.vmap(LATENT.sample, (0, None)))(jax.random.split(jax.random.key(3), draws), tree)
    for found, wanted in zip(drawn[:3], expected, strict=True):
        error = np.asarray(found).std(0) / np.sqrt(draws)
        assert np.all(np.abs(np.asarray(found).mean(0) - wanted) < 5 * error + 10 / draws)
    # Not the margins alone: which states follow each other.
    pairs = drawn.transition.sum((1, 2, 4) if by_step else (1, 2))
    np.testing.assert_array_equal(pairs, np.broadcast_to(case(by_step)[4] - 1, (draws, 4)))


@each
def test_weights_are_those_of_sequences(by_step):
    tree, *_ = case(by_step)
    moments, _ = expectation(tree)
    spoilt = moments._replace(local=moments.local.at[0, 1, 0].set(jnp.nan))
    weighed = LATENT.weigh(spoilt, jnp.array([2.0, 0.0, 1.0, 0.5]))
    np.testing.assert_allclose(weighed.initial[:, 0], 2 * moments.initial[:, 0])
    np.testing.assert_allclose(weighed.transition[:, :, 3], moments.transition[:, :, 3] / 2)
    np.testing.assert_allclose(weighed.local[:, 2], moments.local[:, 2])
    assert not np.any(weighed.local[:, 1])


@each
def test_an_impossible_sequence_has_neither_path_nor_moments(by_step):
    tree, *_ = case(by_step)
    tree = tree._replace(initial=tree.initial.at[:, 1].set(-jnp.inf))
    for found in (mode(tree), expectation(tree)):
        assert found[1][1] == -np.inf
        assert np.isfinite(np.delete(np.asarray(found[1]), 1)).all()
        assert not np.any(found[0].local[:, 1])
        assert np.isfinite(found[0].transition).all()
    assert not np.any(LATENT.sample(jax.random.key(0), tree).local[:, 1])


class _Classes(AbstractLatent):
    """One of some classes, on the last axis."""

    def expectation(self, potentials):
        return jax.nn.softmax(potentials, -1), jax.scipy.special.logsumexp(potentials, -1)

    def mode(self, potentials):
        raise NotImplementedError

    def sample(self, key, potentials):
        raise NotImplementedError

    def pair(self, potentials, moments):
        return jnp.sum(potentials * moments, -1)


def test_what_is_hidden_in_a_state_adds_its_log_normalizer_where_something_was_observed():
    tree, *_ = case()
    inner = jnp.asarray(np.random.default_rng(1).standard_normal((3, 4, 6, 2)))
    nested, potentials = Nested(LATENT, _Classes()), NestedTree(tree, inner)
    moments, value = nested.expectation(potentials)
    added = tree._replace(local=tree.local + jax.scipy.special.logsumexp(inner, -1))
    expected, total = expectation(added)
    np.testing.assert_allclose(value, total, rtol=1e-12)
    np.testing.assert_allclose(moments.inner.sum(-1), expected.local, atol=1e-12)
    assert not np.any(moments.inner[:, 0, 2])
    weighed = nested.weigh(moments, jnp.arange(4.0))
    np.testing.assert_allclose(weighed.inner[:, 3], 3 * moments.inner[:, 3])
    assert nested.pair(potentials, moments).shape == (4,)


def test_the_entropy_of_a_path_is_refused():
    with pytest.raises(jaxem.MissingCapabilityError, match="does not follow from the moments"):
        LATENT.entropy(case()[0])
