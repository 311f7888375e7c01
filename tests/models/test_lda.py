"""Topics, against the published updates, scikit-learn, exact evidences and topics that are known."""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose
from scipy.special import digamma, gammaln
from sklearn.decomposition import LatentDirichletAllocation

import jaxem
from jaxem.latent import MeanField
from jaxem.testing import check_model
from tests.helpers import engine
from tests.helpers.mean_field import coordinate_ascent

TOPICS, WORDS, DOCUMENTS = 3, 8, 30
ALPHA, ETA = 0.4, 0.3
PRECISE = MeanField(steps=2000, tol=1e-9)
VB = jaxem.LDA(TOPICS, WORDS, ALPHA, jaxem.priors.Dirichlet(ETA), document=PRECISE)
ML = jaxem.LDA(TOPICS, WORDS, ALPHA, document=PRECISE)


@lru_cache
def corpus():
    """Counts `[n, V]`: a document of one word among them, an empty one, and a word that none has."""
    rng = np.random.default_rng(40)
    topics = rng.dirichlet(np.full(WORDS - 1, 0.4), TOPICS)
    table = np.zeros((DOCUMENTS, WORDS))
    for i in range(DOCUMENTS - 2):
        table[i, :-1] = rng.multinomial(25, rng.dirichlet(np.full(TOPICS, ALPHA)) @ topics)
    table[-2, 2] = 1.0
    start = rng.dirichlet(np.full(WORDS, 2.0), TOPICS)
    for array in (table, start):
        array.setflags(write=False)
    return table, start


def data():
    return jax.tree.map(jnp.asarray, jaxem.Documents.from_counts(corpus()[0], float))


def start():
    return jaxem.models.LDAParams(jnp.asarray(ALPHA), jnp.asarray(corpus()[1]))


class Cell(NamedTuple):
    model: Any
    start: Any
    x: Any
    weights: Any


def cell(priors=False):
    """A model, a start, data and weights, for tests of every algorithm."""
    prior = jaxem.priors.Dirichlet(1.2) if priors else None
    return Cell(jaxem.LDA(TOPICS, WORDS, ALPHA, prior, document=PRECISE), start(), data(), jnp.ones(DOCUMENTS))


def e_step(log_topics, alpha):
    """Expected counts `[K, V]`, the concentration of each document, and the sum of the bounds."""
    counts, total, gammas = np.zeros_like(log_topics), 0.0, []
    for row in corpus()[0]:
        used = np.flatnonzero(row)
        gamma, phi, bound = coordinate_ascent(log_topics[:, used].T, row[used], alpha)
        counts[:, used] += (row[used][:, None] * phi).T
        total += bound
        gammas.append(gamma)
    return counts, np.array(gammas), total


def dirichlet_kl(a, b):
    """From `b`, row by row: the last terms of the bound of Hoffman, Blei and Bach (2010), equation 4."""
    log = digamma(a) - digamma(a.sum(-1, keepdims=True))
    constant = gammaln(a.sum(-1)) - gammaln(a).sum(-1) - gammaln(b.sum(-1)) + gammaln(b).sum(-1)
    return (constant + ((a - b) * log).sum(-1)).sum()


# Against the published updates


def test_every_step_of_maximum_likelihood_is_the_published_one():
    topics, values = np.array(corpus()[1]), []
    for _ in range(6):
        counts, _, bound = e_step(np.log(np.maximum(topics, 1e-300)), np.full(TOPICS, ALPHA))
        values.append(bound)
        last, topics = topics, counts / counts.sum(1, keepdims=True)
    fit = engine.solve(ML, start(), data(), max_steps=5, tol=-np.inf)
    assert_allclose(engine.history(fit), values, rtol=1e-9)
    assert_allclose(fit.params.topics, last, rtol=1e-6, atol=1e-9)
    assert float(fit.log_likelihood) == float(fit.objective)


@pytest.mark.slow
def test_every_step_of_variational_bayes_is_the_published_one():
    alpha, values = np.full(TOPICS, ALPHA), []
    counts, _, _ = e_step(np.log(corpus()[1]), alpha)
    for _ in range(6):
        posterior = ETA + counts
        log = digamma(posterior) - digamma(posterior.sum(1, keepdims=True))
        counts, gammas, bound = e_step(log, alpha)
        values.append(bound - dirichlet_kl(posterior, np.full_like(posterior, ETA)))
    fit = engine.solve(VB, start(), data(), max_steps=5, tol=-np.inf, algorithm=jaxem.vbem())
    assert_allclose(engine.history(fit), values, rtol=1e-9)
    assert_allclose(fit.posterior.topics.concentration, posterior, rtol=1e-6)
    assert_allclose(fit.params.topics, posterior / posterior.sum(1, keepdims=True), rtol=1e-6)
    assert_allclose(VB.posterior(fit.posterior, data()).concentration, gammas, rtol=1e-6)
    assert_allclose(VB.transform(fit.posterior, data())[-1], np.full(TOPICS, 1 / TOPICS))


@pytest.fixture(scope="module")
def bayes():
    fit = engine.solve(VB, start(), data(), algorithm=jaxem.vbem(), tol=1e-9)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-8
    return fit


@pytest.mark.slow
def test_scikit_learn_stops_there_too(bayes):
    """The same bound for its posterior, and its batch algorithm stays at ours."""
    table = corpus()[0][:-1]  # it refuses none, but scores an empty row as if it had no prior either
    other = LatentDirichletAllocation(
        TOPICS, doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=3, random_state=0, mean_change_tol=1e-12,
        max_doc_update_iter=5000,
    ).fit(table)  # fmt: skip
    documents = jax.tree.map(lambda a: a[:-1], data())
    theirs = jaxem.models.LDAParams(jnp.asarray(ALPHA), jaxem.priors.Dirichlet(jnp.asarray(other.components_)))
    variational = jaxem.models.Variational(VB)
    bound = variational.log_likelihood(theirs, documents) + variational.log_prior(theirs)
    assert_allclose(bound, other.score(table), rtol=1e-8)
    assert_allclose(VB.transform(theirs, documents), other.transform(table), atol=1e-6)
    ours = np.array(bayes.posterior.topics.concentration)
    other.components_ = ours
    other.exp_dirichlet_component_ = np.exp(digamma(ours) - digamma(ours.sum(1, keepdims=True)))
    assert_allclose(other.score(table), bayes.objective, rtol=1e-8)
    other.max_iter = 1
    other.partial_fit(table)
    # Online with all rows and full weight would be a batch step; its first weight is what it is.
    assert_allclose(other.components_, ours, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["incremental", "accelerated"])
def test_other_updates_reach_the_same_bound(bayes, name):
    algorithm = {
        "incremental": jaxem.Algorithm(update=jaxem.update.Incremental(5), m_step=jaxem.m_step.Posterior()),
        "accelerated": jaxem.squarem(jaxem.vbem()),
    }[name]
    fit = engine.solve(VB, start(), data(), algorithm=algorithm, tol=1e-8)
    assert engine.name(fit) == "converged"
    values = engine.history(fit)
    assert np.diff(values[values > -np.inf][5:]).min() > -1e-8 or name == "accelerated"
    # Of several optima.
    assert_allclose(fit.objective, bayes.objective, rtol=0.02)
    again = engine.solve(VB, fit.params, data(), algorithm=jaxem.vbem(), tol=1e-9)
    assert float(again.objective) >= float(fit.objective) - 1e-6


# Topics that are known


@lru_cache
def bars():
    """Griffiths and Steyvers (2004): ten topics are the rows and columns of a square of 25 words."""
    square = np.zeros((10, 5, 5))
    for i in range(5):
        square[i, i, :] = square[5 + i, :, i] = 0.2
    truth = square.reshape(10, 25)
    model = jaxem.LDA(10, 25, 0.2, jaxem.priors.Dirichlet(0.1))
    params = jaxem.models.LDAParams(jnp.asarray(0.2), jnp.asarray(truth))
    documents, hidden = model.sample(jax.random.key(3), params, 300)
    return model, truth, documents, hidden


def test_draws_are_of_the_model():
    _, truth, documents, hidden = bars()
    words, topics = np.asarray(documents.words), np.asarray(hidden.topics)
    assert words.shape == (300, 100)
    assert words.min() >= 0
    assert words.max() < 25
    assert (truth[topics, words] > 0).all()
    counts = np.zeros((10, 25))
    np.add.at(counts, (topics, words), 1.0)
    assert_allclose(counts / counts.sum(1, keepdims=True), truth, atol=0.03)
    used = (topics[:, :, None] == np.arange(10)).mean(1)
    assert_allclose(used, hidden.proportions, atol=0.25)
    # Dirichlet variance m (1 - m) / (K alpha + 1).
    assert_allclose(np.asarray(hidden.proportions).var(0).mean(), 0.09 / 3, rtol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch", "online"])
def test_bars_are_found(name):
    model, truth, documents, _ = bars()
    table = np.zeros((300, 25))
    np.add.at(table, (np.arange(300)[:, None], np.asarray(documents.words)), 1.0)
    documents = jaxem.Documents.from_counts(table)
    online = jaxem.Algorithm(update=jaxem.update.Stepwise(50, power=0.7), m_step=jaxem.m_step.Posterior())
    algorithm = {"batch": jaxem.vbem(), "online": online}[name]
    fit = jaxem.fit(model, documents, key=jax.random.key(0), restarts=4, algorithm=algorithm, max_steps=150, tol=1e-4)
    found = np.asarray(fit.params.topics)
    distance = np.abs(truth[:, None] - found[None]).sum(-1) / 2
    assert sorted(distance.argmin(1)) == list(range(10))
    assert distance.min(1).max() < 0.1
    known = jaxem.models.LDAParams(jnp.asarray(0.2), jnp.asarray(truth))
    assert model.perplexity(fit.posterior, documents) < 1.03 * model.perplexity(known, documents)


# Concentrations


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_learned_concentration_maximises_the_bound(symmetric):
    alpha = jnp.asarray(1.0) if symmetric else jnp.asarray([1.0, 0.5, 2.0])
    model = jaxem.LDA(TOPICS, WORDS, alpha, jaxem.priors.Dirichlet(ETA), learn_concentration=True, document=PRECISE)
    fit = engine.solve(model, start()._replace(concentration=alpha), data(), algorithm=jaxem.vbem(), tol=1e-12)
    assert engine.name(fit) == "converged"
    assert np.diff(engine.history(fit)).min() > -1e-8
    variational = jaxem.models.Variational(model)
    assert fit.params.concentration.shape == alpha.shape

    def bound(a):
        return variational.log_likelihood(fit.posterior._replace(concentration=a), data())

    best = fit.posterior.concentration
    for step in (0.9, 1.1):
        assert float(bound(step * best)) < float(bound(best))
    if not symmetric:
        for k in range(TOPICS):
            assert float(bound(best.at[k].multiply(1.2))) < float(bound(best))


@pytest.mark.slow
def test_a_concentration_that_runs_away_is_degenerate():
    """The proportions of one document say nothing of how much they vary."""
    documents = jaxem.Documents(jnp.asarray([[0, 1, 2]], jnp.int32), jnp.asarray([[3.0, 1.0, 2.0]]))
    model = jaxem.LDA(2, 3, 1.0, learn_concentration=True, frozen=("topics",))
    params = jaxem.models.LDAParams(jnp.asarray(1e6), jnp.asarray([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]))
    assert bool(model.bound().degenerate(params))
    assert not bool(model.bound().degenerate(params._replace(concentration=jnp.asarray(3.0))))
    fit = engine.solve(model, params._replace(concentration=jnp.asarray(1e3)), documents, max_steps=400)
    assert float(fit.params.concentration) > 1e3
    assert_allclose(fit.params.topics, params.topics)


# Edges


@pytest.mark.slow
def test_one_topic_has_the_exact_evidence():
    table = corpus()[0]
    model = jaxem.LDA(1, WORDS, 0.7, jaxem.priors.Dirichlet(ETA))
    uniform = jaxem.models.LDAParams(jnp.asarray(0.7), jnp.full((1, WORDS), 1 / WORDS))
    fit = engine.solve(model, uniform, data(), algorithm=jaxem.vbem())
    total = table.sum(0)
    evidence = gammaln(WORDS * ETA) - gammaln(WORDS * ETA + total.sum()) + (gammaln(ETA + total) - gammaln(ETA)).sum()
    assert_allclose(fit.objective, evidence, rtol=1e-11)


def test_topics_without_words_and_words_without_topics():
    """A topic that no word falls to keeps its words; a word that none has stays possible under a prior."""
    own = np.zeros((TOPICS, WORDS))
    own[0], own[1, :2], own[2, 7] = 1 / WORDS, 0.5, 1.0
    begin = jaxem.models.LDAParams(jnp.asarray(ALPHA), jnp.asarray(own))
    fit = engine.solve(ML, begin, data(), max_steps=5, tol=-np.inf)
    np.testing.assert_allclose(fit.params.topics[2], own[2])
    assert np.isfinite(engine.history(fit)).all()
    none = begin._replace(topics=begin.topics.at[2].set(0.0))
    assert np.isfinite(engine.solve(ML, none, data(), max_steps=5, tol=-np.inf).objective)
    # The empty document, and the one of a single word.
    assert_allclose(ML.log_prob(fit.params, data())[-1], 0.0, atol=1e-12)
    assert_allclose(ML.transform(fit.params, data())[-1], np.full(TOPICS, 1 / TOPICS))


def test_perplexity_and_top_words():
    documents = data()
    bound = float(ML.log_likelihood(start(), documents))
    assert_allclose(ML.perplexity(start(), documents), np.exp(-bound / corpus()[0].sum()), rtol=1e-10)
    shares, topics = np.asarray(ML.transform(start(), documents)), corpus()[1]
    probability = (corpus()[0] * np.log(shares @ topics)).sum()
    held = ML.perplexity(start(), documents, documents)
    assert_allclose(held, np.exp(-probability / corpus()[0].sum()), rtol=1e-10)
    order = np.argsort(-topics, 1)[:, :3]
    np.testing.assert_array_equal(ML.top_words(start(), 3), order)
    names = ML.top_words(start(), 3, "abcdefgh")
    assert names[0] == tuple("abcdefgh"[w] for w in order[0])
    with pytest.raises(jaxem.DataError, match="held_out has 1 documents, data 30"):
        ML.perplexity(start(), documents, jax.tree.map(lambda a: a[:1], documents))


def test_containers():
    table, _ = corpus()
    dense = jaxem.Documents.from_counts(table)
    sparse = jaxem.Documents.from_counts(scipy.sparse.csr_matrix(table))
    np.testing.assert_array_equal(dense.words, sparse.words)
    np.testing.assert_array_equal(dense.counts, sparse.counts)
    back = np.zeros_like(table)
    np.add.at(back, (np.arange(DOCUMENTS)[:, None], dense.words), dense.counts)
    np.testing.assert_array_equal(back, table)
    tokens = [[str(w) for w in range(WORDS) for _ in range(int(row[w]))] for row in table]
    listed, vocabulary = jaxem.Documents.from_tokens(tokens, [str(w) for w in range(WORDS)])
    np.testing.assert_array_equal(listed.counts, dense.counts)
    assert vocabulary == tuple("01234567")
    assert jaxem.Documents.from_tokens([["a", "b"], []], ["b"])[0].counts.tolist() == [[1.0], [0.0]]
    with pytest.raises(jaxem.DataError, match="list of tokens"):
        jaxem.Documents.from_tokens(["red blue"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d._replace(words=d.words.at[3, 1].set(WORDS)), r"document 3, place 1 has word 8 .* from 0 to 7"),
        (lambda d: d._replace(words=d.words.at[0, 0].set(-1)), "document 0, place 0 has word -1"),
        (lambda d: d._replace(counts=d.counts.at[2, 1].set(-2.0)), r"document 2, place 1 .*count -2.0; .*not negative"),
        (lambda d: d._replace(counts=d.counts.at[2, 1].set(jnp.nan)), "document 2, place 1 .*finite"),
        (lambda d: d._replace(counts=d.counts[:, :2]), r"both be \[documents, L\]"),
        (lambda d: d.counts, "data must be jaxem.Documents"),
        (lambda d: d._replace(words=d.counts), "words must be integers"),
    ],
)
def test_bad_documents_are_refused(change, message):
    with pytest.raises(jaxem.DataError, match=message):
        jaxem.fit(ML, change(data()), key=jax.random.key(0))


def test_what_is_refused():
    run = {"start": start(), "x": data()}
    with pytest.raises(jaxem.MissingCapabilityError, match="no prior on its topics"):
        engine.solve(ML, algorithm=jaxem.vbem(), **run)
    with pytest.raises(jaxem.MissingCapabilityError, match="take topics out of frozen"):
        jaxem.models.Variational(jaxem.LDA(2, 3, topics_prior=jaxem.priors.Dirichlet(1.0), frozen=("topics",)))
    for algorithm, piece in ((jaxem.hard_em(), "mode"), (jaxem.gibbs(5), "sample"), (jaxem.saem(), "sample")):
        with pytest.raises(
            jaxem.MissingCapabilityError, match=f"needs the {piece} of the posterior.*LDA does not have"
        ):
            engine.solve(VB, algorithm=algorithm, **run)
    with pytest.raises(ValueError, match="at least 1 for a posterior-mode"):
        engine.solve(VB, **run)
    for arguments, message in (
        ((0, 3), "num_topics must be a positive integer"),
        ((2, 3, [1.0, 2.0, 3.0]), r"a scalar or \[2\]"),
        ((2, 3, -1.0), "concentration must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            jaxem.LDA(*arguments)
    with pytest.raises(ValueError, match="unknown parameter 'words'"):
        jaxem.LDA(2, 3, frozen=("words",))


@pytest.mark.slow
@pytest.mark.parametrize("prior", [None, jaxem.priors.Dirichlet(1.3)])
def test_contract(prior):
    model = jaxem.LDA(TOPICS, WORDS, np.full(TOPICS, 0.5), prior, True, document=PRECISE, document_length=9)
    params = jaxem.models.LDAParams(jnp.asarray([0.5, 0.7, 0.3]), jnp.asarray(corpus()[1]))
    documents, _ = model.sample(jax.random.key(1), params, 24)
    check_model(model, params, documents)


@pytest.mark.slow
def test_starts_and_single_precision():
    """Starts differ, and float32 comes to what float64 comes to."""
    documents = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == jnp.float64 else a, data())
    model = jaxem.LDA(TOPICS, WORDS, ALPHA, jaxem.priors.Dirichlet(ETA))
    draw = eqx.filter_jit(jax.vmap(lambda key: model.init(key, documents, jnp.ones(DOCUMENTS, jnp.float32))))
    starts = draw(jax.random.split(jax.random.key(0), 2))
    assert starts.topics.dtype == jnp.float32
    assert_allclose(starts.topics.sum(-1), 1.0, rtol=1e-5)
    assert (starts.topics > 0).all()
    assert np.abs(starts.topics[0] - starts.topics[1]).max() > 0.01
    single = jax.tree.map(lambda a: a.astype(jnp.float32), start())
    fit = engine.solve(model, single, documents, algorithm=jaxem.vbem(), max_steps=5, tol=-np.inf)
    exact = engine.solve(VB, start(), data(), algorithm=jaxem.vbem(), max_steps=5, tol=-np.inf)
    assert fit.objective.dtype == jnp.float32
    assert_allclose(fit.objective, exact.objective, rtol=1e-5)
    assert_allclose(fit.params.topics, exact.params.topics, rtol=1e-3, atol=1e-4)
