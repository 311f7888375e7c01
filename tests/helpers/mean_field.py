"""The bound on a document, and its maximum by the published iteration."""

import numpy as np
from scipy.special import digamma, gammaln, logsumexp


def log_bound(log_words, counts, alpha, gamma, phi):
    """Equation 15 of Blei, Ng and Jordan (2003), for any `gamma` `[K]` and `phi` `[L, K]`."""
    mean = digamma(gamma) - digamma(gamma.sum())
    c = counts[:, None]
    entropy = -(c * phi * np.log(np.maximum(phi, 1e-300))).sum()
    return (
        (gammaln(alpha.sum()) - gammaln(alpha).sum() + ((alpha - 1) * mean).sum())
        + (c * phi * mean).sum()
        + (c * phi * log_words).sum()
        - (gammaln(gamma.sum()) - gammaln(gamma).sum() + ((gamma - 1) * mean).sum())
        + entropy
    )


def coordinate_ascent(log_words, counts, alpha, rounds=20_000):
    """Equations 6 and 7: `gamma`, `phi` and the bound."""
    gamma = alpha + counts.sum() / len(alpha)
    for _ in range(rounds):
        log = log_words + digamma(gamma)
        phi = np.exp(log - logsumexp(log, 1, keepdims=True))
        before, gamma = gamma, alpha + (counts[:, None] * phi).sum(0)
        if np.abs(gamma - before).max() < 1e-12:
            break
    return gamma, phi, log_bound(log_words, counts, alpha, gamma, phi)
