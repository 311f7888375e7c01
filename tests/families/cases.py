"""Small instances of every family: the family, parameters, rows, and SciPy's density of each row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxem.families import (
    Bernoulli,
    BernoulliParams,
    Categorical,
    CategoricalParams,
    Gaussian,
    GaussianParams,
    Poisson,
    PoissonParams,
    Product,
)
from jaxem.families.kernels.kept import kept
from jaxem.priors import Beta, Dirichlet, Gamma, NormalInverseWishart
from tests.helpers import oracles

K, N = 3, 40
STRUCTURES = ("full", "tied", "diagonal", "spherical")


class Case(NamedTuple):
    family: Any
    params: Any  # NumPy, float64
    x: Any  # NumPy, float64
    log_density: Callable[[Any, Any], np.ndarray]  # of params and rows, [k, n]
    log_prior: Callable[[Any], float] = lambda params: 0.0


def dense(covariance, structure, k, d):
    """The covariance of every member as a matrix, [k, d, d]."""
    if structure in ("full", "VEV"):
        return covariance
    if structure == "tied":
        return np.broadcast_to(covariance, (k, d, d))
    if structure == "diagonal":
        return covariance[:, :, None] * np.eye(d)
    return covariance[:, None, None] * np.eye(d)


def gaussian(structure, prior=False):
    rng = np.random.default_rng(1)
    d = 2
    mean = np.array([[3.0, -5.0], [4.0, -4.0], [2.5, -3.5]])
    factor = 0.4 * rng.standard_normal((K, d, d)) + 1.5 * np.eye(d)
    full = factor @ factor.transpose(0, 2, 1)
    covariance = {
        "full": full,
        "VEV": oracles.equal_shape(full, np.ones(K)),
        "tied": full[0],
        "diagonal": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": full[:, 0, 0].copy(),
    }[structure]
    x = mean[rng.integers(K, size=N)] + 1.5 * rng.standard_normal((N, d))

    def log_density(params, x):
        full = dense(params.covariance, structure, K, d)
        normals = zip(params.mean, full, strict=True)
        return np.stack([stats.multivariate_normal.logpdf(x, m, c) for m, c in normals])

    if not prior:
        return Case(Gaussian(structure), GaussianParams(mean, covariance), x, log_density)
    location, strength, dof = np.array([3.0, -4.0]), 0.7, 5.5
    scale = {
        "full": full[1],
        "VEV": full[1],
        "tied": full[1],
        "diagonal": np.array([1.2, 0.8]),
        "spherical": np.array(1.3),
    }[structure]

    def log_prior(params):
        full = dense(params.covariance, structure, K, d)
        normal = [
            stats.multivariate_normal.logpdf(m, location, c / strength) for m, c in zip(params.mean, full, strict=True)
        ]
        if structure in ("full", "tied", "VEV"):
            distinct = [params.covariance] if structure == "tied" else params.covariance
            spread = [stats.invwishart.logpdf(c, dof, scale) for c in distinct]
        else:
            spread = stats.invgamma.logpdf(params.covariance, dof / 2, scale=scale / 2)
        return np.sum(normal) + np.sum(spread)

    family = Gaussian(structure, NormalInverseWishart(location, strength, scale, dof))
    return Case(family, GaussianParams(mean, covariance), x, log_density, log_prior)


def poisson(prior=False):
    rate = np.array([[0.5, 4.0], [3.0, 9.0], [8.0, 0.25]])
    rng = np.random.default_rng(2)
    x = rng.poisson(rate[rng.integers(K, size=N)]).astype(float)

    def log_density(params, x):
        return np.stack([stats.poisson.logpmf(x, r).sum(1) for r in params.rate])

    shape, scale = np.array([2.0, 3.5]), 1.5
    return Case(
        Poisson(Gamma(shape, scale) if prior else None),
        PoissonParams(rate),
        x,
        log_density,
        lambda p: stats.gamma.logpdf(p.rate, shape, scale=1 / scale).sum() if prior else 0.0,
    )


def bernoulli(prior=False):
    probability = np.array([[0.2, 0.9, 0.5], [0.6, 0.7, 0.1], [0.3, 0.95, 0.8]])
    rng = np.random.default_rng(3)
    x = (rng.random((N, 3)) < probability[rng.integers(K, size=N)]).astype(float)

    def log_density(params, x):
        return np.stack([stats.bernoulli.logpmf(x, p).sum(1) for p in params.probability])

    a, b = np.array([2.0, 1.5, 3.0]), 1.25
    return Case(
        Bernoulli(Beta(a, b) if prior else None),
        BernoulliParams(probability),
        x,
        log_density,
        lambda p: stats.beta.logpdf(p.probability, a, b).sum() if prior else 0.0,
    )


def categorical(prior=False):
    rng = np.random.default_rng(4)
    probabilities = rng.dirichlet(np.full(4, 1.5), size=(K, 2))
    x = rng.integers(4, size=(N, 2)).astype(float)

    def log_density(params, x):
        chosen = np.take_along_axis(params.probabilities[:, None], x.astype(int)[None, :, :, None], -1)
        return np.log(chosen[..., 0]).sum(-1)

    concentration = np.array([1.5, 2.0, 1.0, 3.0])

    def log_prior(params):
        flat = params.probabilities.reshape(-1, 4)
        return sum(stats.dirichlet.logpdf(p, concentration) for p in flat)

    return Case(
        Categorical(4, Dirichlet(concentration) if prior else None),
        CategoricalParams(probabilities),
        x,
        log_density,
        log_prior if prior else lambda p: 0.0,
    )


def product(structure="full", columns=None, prior=False):
    blocks = {"size": gaussian(structure, prior), "visits": poisson(prior), "kind": categorical(prior)}
    families = {name: case.family for name, case in blocks.items()}
    rows = {name: case.x for name, case in blocks.items()}
    if columns:
        rows = np.zeros((N, sum(len(which) for which in columns.values())))
        for name, which in columns.items():
            rows[:, which] = blocks[name].x

    def log_density(params, x):
        parts = {name: x[:, which] for name, which in columns.items()} if columns else x
        return sum(case.log_density(params[name], parts[name]) for name, case in blocks.items())

    return Case(
        Product(families, columns),
        {name: case.params for name, case in blocks.items()},
        rows,
        log_density,
        lambda p: sum(case.log_prior(p[name]) for name, case in blocks.items()),
    )


COLUMNS = {"size": [0, 3], "visits": [1, 2], "kind": [5, 4]}


def every(prior=False):
    """All cases by name."""
    return {
        **{f"gaussian-{s}": gaussian(s, prior) for s in (*STRUCTURES, "VEV")},
        "poisson": poisson(prior),
        "bernoulli": bernoulli(prior),
        "categorical": categorical(prior),
        "product": product(prior=prior),
        "product-tied-columns": product("tied", COLUMNS, prior),
    }


def cast(tree, dtype):
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)


def responsibilities(k=K, n=N):
    """Weighted responsibilities, [k, n]."""
    rng = np.random.default_rng(5)
    return rng.dirichlet(np.full(k, 0.7), size=n).T * rng.uniform(0.5, 2, n)


def kernels(family, params, x, weights):
    """The family as it comes, bound to data, and on its accurate kernel, each with parameters in its coordinates.

    The anchor is not at the parameters, which is the general case.
    """
    found = {"plain": (family.kernel(), params)}
    bound = family.bind(x, weights, lambda tree: tree)
    encoded = bound.encode(params)
    found["bound"] = bound, encoded
    if bound.accurate() is not None:
        found["anchored"] = bound.accurate().about(elsewhere(encoded)), encoded
    return found


def maximum(kernel, params, x, r, frozen=()):
    """What a model makes of the M-step of a kernel."""
    found = kernel.maximize(collect(kernel, params, x, r), params, frozen)
    return kept(kernel, found, params, frozen, jnp.sum(r, 1))


def elsewhere(params):
    return jax.tree.map(lambda a: a * 1.25, params)


def collect(family, params, x, r):
    """Statistics as the transpose of the map from natural parameters to potentials."""
    _, pull = jax.vjp(lambda natural: family.potentials(natural, x), family.natural(params))
    return pull(r)[0]


def blocks_of(x):
    """The tables of a product by block."""
    return x if isinstance(x, dict) else {name: x[:, which] for name, which in COLUMNS.items()}
