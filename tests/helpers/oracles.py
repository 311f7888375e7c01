"""Oracles for mixtures in plain NumPy and SciPy, float64, sharing no code with the package.

A mixture is ``Mixture(weights [k], components)``. ``components`` holds arrays with a leading axis of k in the
order of the package's own named tuples (which are therefore accepted as they are); those of a product are a
mapping from part names to such tuples, and its data a mapping from the same names to arrays.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import logsumexp, xlogy


class Mixture(NamedTuple):
    weights: Any
    components: Any


class NIW(NamedTuple):
    """mean | covariance ~ N(location, covariance / strength), covariance ~ inverse Wishart(dof, scale).

    For diagonal and spherical covariances, variances ~ inverse gamma(dof / 2, rate scale / 2); `scale` is then a
    vector and a number.
    """

    location: Any
    strength: float
    dof: float
    scale: Any


def moments(x, r):
    """Weighted count, mean and scatter about the mean of every component, in two passes."""
    count = r.sum(axis=0)
    origin = x.mean(axis=0)
    centred = x - origin
    mean = (r.T @ centred) / count[:, None]
    scatter = np.empty((r.shape[1], x.shape[1], x.shape[1]))
    for j in range(r.shape[1]):
        residual = centred - mean[j]
        scatter[j] = (r[:, j, None] * residual).T @ residual
    return count, origin + mean, scatter


def dense(covariance, kind, k, d):
    """The covariance [k, d, d] of every component, whatever the parametrisation."""
    covariance = np.asarray(covariance, float)
    if kind in ("full", "VEV"):
        return covariance
    if kind == "tied":
        return np.broadcast_to(covariance, (k, d, d))
    if kind == "diagonal":
        return np.stack([np.diag(v) for v in covariance])
    return covariance[:, None, None] * np.eye(d)


def equal_shape(scatter, count):
    """Covariances of the model `[lambda_k D_k A D_k']` by the iteration of Celeux and Govaert (1995)."""
    values, vectors = np.linalg.eigh(scatter)
    d = scatter.shape[-1]
    shape, last = np.ones(d), np.inf
    while np.abs(last / shape - 1).max() > 1e-15:
        volume = (values / shape).sum(axis=1) / (d * count)
        last, shape = shape, (values / volume[:, None]).sum(axis=0)
        shape = shape / np.exp(np.log(shape).mean())
    return np.einsum("kij,kj,klj->kil", vectors, volume[:, None] * shape, vectors)


@dataclass(frozen=True)
class Gaussian:
    covariance: str = "full"

    def log_density(self, components, x):
        mean, covariance = (np.asarray(a, float) for a in components)
        full = dense(covariance, self.covariance, *mean.shape)
        columns = [
            stats.multivariate_normal.logpdf(x - m, np.zeros_like(m), c) for m, c in zip(mean, full, strict=True)
        ]
        return np.stack([np.atleast_1d(c) for c in columns], axis=1)

    def maximize(self, x, r, prior=None):
        count, mean, scatter = moments(np.asarray(x, float), r)
        k, d = mean.shape
        location, strength, dof, scale = prior or (0.0, 0.0, 0.0, 0.0)
        shift = mean - location
        share = strength / (strength + count)
        scatter = scatter + (share * count)[:, None, None] * shift[:, :, None] * shift[:, None, :]
        mean = mean - share[:, None] * shift
        squares = np.diagonal(scatter, axis1=1, axis2=2)
        extra = {"full": d + 2, "tied": d + 1 + k, "diagonal": 3, "spherical": d + 2, "VEV": d + 2}[self.covariance]
        extra = 0.0 if prior is None else dof + extra
        if self.covariance == "full":
            return mean, (scatter + scale) / (count + extra)[:, None, None]
        if self.covariance == "VEV":
            return mean, equal_shape(scatter + scale, count + extra)
        if self.covariance == "tied":
            return mean, (scatter.sum(axis=0) + scale) / (count.sum() + extra)
        if self.covariance == "diagonal":
            return mean, (squares + scale) / (count + extra)[:, None]
        return mean, (squares.sum(axis=1) + scale) / (d * count + extra)

    def log_prior(self, components, prior):
        mean, covariance = (np.asarray(a, float) for a in components)
        if self.covariance in ("full", "tied", "VEV"):
            distinct = [covariance] if self.covariance == "tied" else covariance
            of_covariance = sum(stats.invwishart.logpdf(c, prior.dof, prior.scale) for c in distinct)
        else:
            scale = np.asarray(prior.scale) / 2
            of_covariance = stats.invgamma.logpdf(covariance, prior.dof / 2, scale=scale).sum()
        full = dense(covariance, self.covariance, *mean.shape)
        return of_covariance + sum(
            stats.multivariate_normal.logpdf(m, prior.location, c / prior.strength)
            for m, c in zip(mean, full, strict=True)
        )


@dataclass(frozen=True)
class Poisson:
    def log_density(self, components, x):
        (rate,) = (np.asarray(a, float) for a in components)
        return np.stack([stats.poisson.logpmf(x, m).sum(axis=1) for m in rate], axis=1)

    def maximize(self, x, r):
        return ((r.T @ x) / r.sum(axis=0)[:, None],)


@dataclass(frozen=True)
class Bernoulli:
    def log_density(self, components, x):
        (probability,) = (np.asarray(a, float) for a in components)
        return np.stack([stats.bernoulli.logpmf(x, p).sum(axis=1) for p in probability], axis=1)

    def maximize(self, x, r):
        return ((r.T @ x) / r.sum(axis=0)[:, None],)


@dataclass(frozen=True)
class Categorical:
    num_categories: int

    def log_density(self, components, x):
        (probabilities,) = (np.asarray(a, float) for a in components)
        indicator = np.asarray(x)[:, :, None] == np.arange(self.num_categories)
        return np.stack([xlogy(indicator, p).sum(axis=(1, 2)) for p in probabilities], axis=1)

    def maximize(self, x, r):
        indicator = np.asarray(x)[:, :, None] == np.arange(self.num_categories)
        return (np.einsum("nk,ndc->kdc", r, indicator) / r.sum(axis=0)[:, None, None],)


@dataclass(frozen=True)
class Product:
    parts: dict

    def log_density(self, components, x):
        return sum(family.log_density(components[name], x[name]) for name, family in self.parts.items())

    def maximize(self, x, r):
        return {name: family.maximize(x[name], r) for name, family in self.parts.items()}


def log_joint(family, params, x):
    """log p(x_n, z_n = j) for every row and component, [n, k]."""
    with np.errstate(divide="ignore"):
        return family.log_density(params.components, x) + np.log(np.asarray(params.weights, float))


def log_prob(family, params, x):
    return logsumexp(log_joint(family, params, x), axis=1)


def log_likelihood(family, params, x, weights=None):
    values = log_prob(family, params, x)
    return values.sum() if weights is None else (weights * values).sum()


def posterior(family, params, x):
    joint = log_joint(family, params, x)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def log_prior(family, params, prior=None, concentration=None):
    """Log density of Dirichlet(concentration) at the weights plus that of the NIW prior at the components."""
    value = 0.0
    if concentration is not None:
        value += stats.dirichlet.logpdf(np.asarray(params.weights, float), concentration)
    if prior is not None:
        value += family.log_prior(params.components, prior)
    return value


def em_step(family, params, x, weights=None, prior=None, concentration=None):
    """One EM step; with priors, to the mode of the joint density of all parameters.

    Fraley and Raftery (2007), Bayesian regularization for normal mixture estimation, Journal of
    Classification 24, 155-181.
    """
    r = posterior(family, params, x)
    if weights is not None:
        r = r * np.asarray(weights, float)[:, None]
    pseudo = r.sum(axis=0) + (0.0 if concentration is None else np.asarray(concentration, float) - 1.0)
    components = family.maximize(x, r) if prior is None else family.maximize(x, r, prior)
    return Mixture(pseudo / pseudo.sum(), components)


def run_em(family, params, x, weights=None, prior=None, concentration=None, tol=1e-12, max_steps=20_000):
    """EM until the objective gains less than tol relative to its size; returns the parameters and objective."""

    def objective(p):
        return log_likelihood(family, p, x, weights) + log_prior(family, p, prior, concentration)

    value = objective(params)
    for _ in range(max_steps):
        params = em_step(family, params, x, weights, prior, concentration)
        previous, value = value, objective(params)
        if abs(value - previous) <= tol * abs(value):
            break
    return params, value
