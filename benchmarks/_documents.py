"""Documents of a topic model over words of falling frequency, and the perplexity of held-out ones."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.special import digamma, gammaln

PEAKEDNESS = 0.05  # concentration of a topic for each word of the vocabulary, times its frequency
TOKENS = 150  # in a document, on average
_ROWS = 250  # documents at a time


class Corpus(NamedTuple):
    table: scipy.sparse.csr_matrix  # counts [n, words], to fit
    held_out: scipy.sparse.csr_matrix  # counts of other documents
    topics: np.ndarray  # [k, words], that they were drawn from


def corpus(n: int, words: int, k: int, dtype: str, held_out: int = 0, seed: int = 0) -> Corpus:
    """Word frequencies by Zipf and Mandelbrot, topics drawn around them, lengths that vary by a third.

    The documents to fit do not depend on how many are held out.
    """
    rng = np.random.default_rng(seed)
    base = 1 / (np.arange(words) + 2.7)
    topics = rng.dirichlet(PEAKEDNESS * words * base / base.sum() + 1e-3, size=k)

    def draw(count: int) -> scipy.sparse.csr_matrix:
        shares = rng.dirichlet(np.full(k, 0.1), size=count)
        lengths = np.maximum(rng.negative_binomial(9, 9 / (9 + TOKENS), size=count), 2)
        rows = [
            scipy.sparse.csr_matrix(rng.multinomial(length, share @ topics))
            for length, share in zip(lengths, shares, strict=True)
        ]
        return scipy.sparse.vstack(rows, format="csr").astype(dtype)

    table = draw(n)
    return Corpus(table, draw(held_out) if held_out else table[:0], topics)


def perplexity(log_topics: np.ndarray, table: scipy.sparse.csr_matrix, concentration: float) -> float:
    """The same yardstick for every contender's topics: exp of minus the variational bound per word on documents.

    `log_topics` `[k, words]` are logarithms, or expected logarithms under a posterior.
    """
    bound = sum(
        _bound(log_topics, table[first : first + _ROWS], concentration) for first in range(0, table.shape[0], _ROWS)
    )
    return float(np.exp(-bound / table.sum()))


def expected_log(concentration: np.ndarray) -> np.ndarray:
    return digamma(concentration) - digamma(concentration.sum(-1, keepdims=True))


def _bound(log_topics: np.ndarray, table: scipy.sparse.csr_matrix, alpha: float, steps: int = 500) -> float:
    n, k = table.shape[0], len(log_topics)
    lengths = np.diff(table.indptr)
    place = np.arange(table.nnz) - np.repeat(table.indptr[:-1], lengths)
    row = np.repeat(np.arange(n), lengths)
    counts, log = np.zeros((n, lengths.max())), np.zeros((n, lengths.max(), k))
    counts[row, place], log[row, place] = table.data, log_topics.T[table.indices]
    most = log.max(-1)
    words = np.exp(log - most[..., None])
    gamma = np.full((n, k), alpha) + counts.sum(1, keepdims=True) / k
    for _ in range(steps):
        share = np.exp(expected_log(gamma))
        total = np.maximum((words @ share[..., None])[..., 0], np.finfo(float).tiny)
        new = alpha + share * ((counts / total)[:, None] @ words)[:, 0]
        change, gamma = np.abs(new - gamma).max(), new
        if change < 1e-5:
            break
    of_share = expected_log(gamma)
    total = np.maximum((words @ np.exp(of_share)[..., None])[..., 0], np.finfo(float).tiny)
    prior = gammaln(k * alpha) - k * gammaln(alpha) + (alpha - 1) * of_share.sum(1)
    own = gammaln(gamma.sum(1)) - gammaln(gamma).sum(1) + ((gamma - 1) * of_share).sum(1)
    return float(np.sum(counts * (np.log(total) + most)) + np.sum(prior - own))
