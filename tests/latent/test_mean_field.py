"""The bound on a document, against its published equations and the sum over all that is hidden."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import digamma, gammaln, logsumexp

import jaxem
from jaxem.latent import MeanField, MeanFieldTree
from tests.helpers.mean_field import coordinate_ascent, log_bound

LATENT = MeanField(steps=5000, tol=1e-11)
expectation = jax.jit(LATENT.expectation)


def tree(log_words, counts, alpha):
    """Potentials of documents with these log probabilities `[n, L, K]`, counts `[n, L]` and `alpha` `[n, K]`."""
    constant = gammaln(alpha.sum(-1)) - gammaln(alpha).sum(-1)
    parts = log_words * counts[..., None], counts, alpha, constant
    return MeanFieldTree(*(jnp.asarray(part) for part in parts))


@pytest.fixture(scope="module")
def documents():
    """Four documents of six words under three topics; the last places of two are padding, and one is empty."""
    rng = np.random.default_rng(0)
    log_words = np.log(rng.dirichlet(np.full(6, 0.5), size=(4, 3)).transpose(0, 2, 1))
    counts = rng.poisson(3.0, (4, 6)) + 1.0
    counts[1, 4:], counts[2] = 0.0, 0.0
    alpha = np.array([[0.5, 0.2, 1.0], [0.3, 0.3, 0.3], [0.5, 0.2, 1.0], [2.0, 0.1, 0.4]])
    return log_words, counts, alpha


def test_the_published_equations(documents):
    moments, value = expectation(tree(*documents))
    gammas = jax.jit(LATENT.optimum)(tree(*documents))
    for i, (log_words, counts, alpha) in enumerate(zip(*documents, strict=True)):
        used = counts > 0
        gamma, phi, bound = coordinate_ascent(log_words[used], counts[used], alpha)
        assert_allclose(gammas[i], gamma, rtol=1e-8)
        assert_allclose(moments.words[i][used], phi, rtol=1e-7, atol=1e-12)
        assert_allclose(moments.concentration[i], digamma(gamma) - digamma(gamma.sum()), rtol=1e-8)
        assert_allclose(value[i], bound, rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(moments.words[i][~used], 0.0)
    # Nothing was said: the prior stays.
    np.testing.assert_array_equal(gammas[2], documents[2][2])
    assert_allclose(value[2], 0.0, atol=1e-12)


def test_it_is_an_optimum_and_a_lower_bound(documents):
    """Below the log probability, a sum over the topics of all tokens with the proportions integrated out."""
    log_words, counts, alpha = (part[0] for part in documents)
    counts = np.array([2.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    tokens = [0, 0, 1, 2]
    terms = []
    for z in itertools.product(range(3), repeat=4):
        found = np.bincount(z, minlength=3)
        prior = gammaln(alpha.sum()) - gammaln(alpha.sum() + 4) + (gammaln(alpha + found) - gammaln(alpha)).sum()
        terms.append(prior + sum(log_words[w, k] for w, k in zip(tokens, z, strict=True)))
    exact = logsumexp(terms)
    _, value = expectation(tree(*(part[None] for part in (log_words, counts, alpha))))
    assert exact - 1.0 < float(value[0]) < exact
    gamma, phi, _ = coordinate_ascent(log_words[:3], counts[:3], alpha)
    rng = np.random.default_rng(1)
    for _ in range(20):
        other = rng.dirichlet(50 * phi[0] + 1.0, 3)
        assert log_bound(log_words[:3], counts[:3], alpha, gamma * rng.uniform(0.8, 1.2, 3), other) < float(value[0])


def test_topics_that_are_alike_take_a_tenth_of_the_published_rounds():
    """The published equations are not there after a thousand rounds, the latent is after a hundred."""
    rng = np.random.default_rng(3)
    log_words = np.log(0.9 / 12 + 0.1 * rng.dirichlet(np.ones(12), size=(4, 3)).transpose(0, 2, 1))
    counts, alpha = rng.poisson(8.0, (4, 12)) + 1.0, np.full((4, 3), 0.5)
    latent, potentials = MeanField(steps=100, tol=1e-10), tree(log_words, counts, alpha)
    _, bounds = jax.jit(latent.expectation)(potentials)
    for document, gamma, bound in zip(
        zip(log_words, counts, alpha, strict=True), jax.jit(latent.optimum)(potentials), bounds, strict=True
    ):
        published, _, below = coordinate_ascent(*document, rounds=1000)
        assert bound > below + 1e-9
        phi = np.exp(document[0] + digamma(gamma))
        again = document[2] + (document[1][:, None] * phi / phi.sum(1, keepdims=True)).sum(0)
        assert_allclose(gamma, again, atol=1e-9)
        assert np.abs(published - gamma).max() > 1e-3


def test_the_derivative_of_the_bound_is_the_moments(documents):
    potentials = tree(*documents)

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def derivative(p):  # beside the moments of the same optimum: two programs would each end somewhere near it
        moments, value = LATENT.expectation(p)
        return value.sum(), moments

    gradient, moments = derivative(potentials)
    for name, a, b in zip(moments._fields, gradient, moments, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, err_msg=name)
    # And they are the derivative of the numbers, by differences.
    rng = np.random.default_rng(2)
    direction = jax.tree.map(lambda a: 0.1 * rng.standard_normal(a.shape) * (np.asarray(a) != 0), potentials)
    ends = [expectation(jax.tree.map(lambda a, d: a + h * d, potentials, direction))[1] for h in (1e-4, -1e-4)]  # noqa: B023
    assert_allclose((ends[0] - ends[1]) / 2e-4, LATENT.pair(direction, moments), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_the_derivative_of_the_moments(documents):
    """By the implicit function theorem, forwards and backwards, against differences."""
    potentials = tree(*documents)
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda a: 0.1 * rng.standard_normal(a.shape) * (np.asarray(a) != 0), potentials)

    def along(p):
        return jax.jvp(lambda p: LATENT.expectation(p)[1].sum(), (p,), (direction,))[1]

    forward = jax.jit(lambda p: jax.jvp(lambda p: LATENT.expectation(p)[0], (p,), (direction,))[1])(potentials)
    backward = jax.jit(jax.grad(along))(potentials)
    step = 1e-5
    ends = [expectation(jax.tree.map(lambda a, d: a + h * d, potentials, direction))[0] for h in (step, -step)]  # noqa: B023
    for a, b, up, down in zip(forward, backward, *ends, strict=True):
        assert_allclose(a, (up - down) / (2 * step), rtol=1e-5, atol=1e-6)
        assert_allclose(a, b, rtol=1e-7, atol=1e-9)  # symmetric at the optimum, of which ten digits are known


def test_leading_axes(documents):
    potentials = tree(*documents)
    twice = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), potentials)
    moments, value = jax.jit(LATENT.expectation)(twice)
    assert value.shape == (2, 4)
    one, first = expectation(potentials)
    assert_allclose(value[0], first, rtol=1e-12)
    assert_allclose(moments.words[0], one.words, rtol=1e-9, atol=1e-12)
    halved = LATENT.weigh(one, jnp.asarray([0.5, 0.0, 1.0, 2.0]))
    assert_allclose(halved.counts[0], one.counts[0] / 2)
    np.testing.assert_array_equal(halved.words[1], 0.0)


def test_tiny_concentrations_in_single_precision():
    """Expected logarithms far below those of the smallest number, and words that only a topic out of use knows."""
    log_words = np.log(np.array([[[0.5, 1e-30, 0.1], [1e-30, 0.5, 0.1], [1e-30, 1e-30, 0.8]]]))
    alpha = np.array([[1e-4, 1e-3, 1e-5]])
    counts = np.array([[40.0, 0.0, 0.0], [3.0, 1.0, 0.0], [200.0, 1.0, 1.0]])
    exact = tree(np.repeat(log_words, 3, 0), counts, np.repeat(alpha, 3, 0))
    moments, coarse = expectation(jax.tree.map(lambda a: a.astype(jnp.float32), exact))
    assert coarse.dtype == jnp.float32
    assert all(np.isfinite(leaf).all() for leaf in moments)
    for i, value in enumerate(coarse):
        used = counts[i] > 0
        assert_allclose(value, coordinate_ascent(log_words[0][used], counts[i][used], alpha[0])[2], rtol=1e-4)


def test_a_limit_on_the_rounds_leaves_a_bound(documents):
    _, best = expectation(tree(*documents))
    _, rough = jax.jit(MeanField(steps=1).expectation)(tree(*documents))
    assert np.all(np.asarray(rough) <= np.asarray(best) + 1e-9)
    assert float(rough[0]) < float(best[0]) - 1e-4


def test_what_is_refused(documents):
    potentials = tree(*documents)
    with pytest.raises(jaxem.MissingCapabilityError, match="MeanField has no `mode`"):
        LATENT.mode(potentials)
    with pytest.raises(jaxem.MissingCapabilityError, match="MeanField has no `sample`"):
        LATENT.sample(jax.random.key(0), potentials)
    with pytest.raises(ValueError, match="steps >= 1 and tol > 0"):
        MeanField(steps=0)
