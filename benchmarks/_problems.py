"""Problems that every variant of EM and every plain maximiser starts on from the same parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxem
from benchmarks import _data

# Deaths of women of 80 and over reported in The Times on a day, 1910 to 1912, and the number of such days.
LONDON_TIMES = (np.arange(10.0), np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1]))


@dataclass
class Problem:
    title: str
    model: jaxem.Mixture
    data: jax.Array  # [n, d]
    start: jaxem.models.MixtureParams
    blocks: tuple[str, ...]  # of parameters, for conditional maximisation
    budget: int  # passes over the data that a variant may take
    rows: int  # in a block of stepwise EM

    @property
    def size(self) -> int:
        return self.data.shape[0]

    @property
    def num_parameters(self) -> int:
        return self.model.num_parameters(self.start)


def london(quick: bool) -> Problem:
    deaths, days = LONDON_TIMES
    rows = np.random.default_rng(0).permutation(np.repeat(deaths, days))[:, None]
    start = jaxem.models.MixtureParams(jnp.array([0.5, 0.5]), jaxem.families.PoissonParams(jnp.array([[1.0], [3.0]])))
    return Problem(
        "London Times: two Poisson components on 1,096 days, 3 parameters",
        jaxem.Mixture(jaxem.Poisson(), num_components=2),
        jnp.asarray(rows),
        start,
        ("weights", "components.rate"),
        40 if quick else 5000,
        64,
    )


def overlapping(quick: bool) -> Problem:
    n, d, k = (400, 2, 2) if quick else (20_000, 4, 4)
    x = _data.overlapping(n, d, k, "float64")
    weights, means, covariances = _data.starts(x, k, 1)
    components = jaxem.families.GaussianParams(jnp.asarray(means[0]), jnp.asarray(covariances[0]))
    model = jaxem.GaussianMixture(k)
    start = jaxem.models.MixtureParams(jnp.asarray(weights[0]), components)
    return Problem(
        f"Overlapping Gaussians: {k} components on {n:,} rows of {d} columns, {model.num_parameters(start)} parameters",
        model,
        jnp.asarray(x),
        start,
        ("weights", "components.mean", "components.covariance"),
        40 if quick else 2000,
        256,
    )


def digits(quick: bool) -> Problem:
    from benchmarks.scenarios.digits import table

    d, k = (4, 3) if quick else (10, 10)
    x = np.random.default_rng(0).permutation(table(d))
    model = jaxem.GaussianMixture(k)
    data = jnp.asarray(x)
    start = model.init(jax.random.key(0), data, jnp.ones(len(x)))
    return Problem(
        f"Digits: {k} Gaussians on {d} principal components of scikit-learn's digits, {len(x):,} rows, "
        f"{model.num_parameters(start)} parameters, one k-means++ start",
        model,
        data,
        start,
        ("weights", "components.mean", "components.covariance"),
        40 if quick else 1200,
        256,
    )


PROBLEMS: dict[str, Callable[[bool], Any]] = {"london": london, "overlapping": overlapping, "digits": digits}
