"""Direct maximisation of the observed-data likelihood with SciPy, in unconstrained coordinates. No EM involved."""

import numpy as np
from scipy import optimize
from scipy.linalg import expm, expm_frechet
from scipy.special import logit, softmax

from tests.helpers import oracles
from tests.helpers.oracles import Mixture


def _log_ratio(p):
    p = np.clip(np.asarray(p, float), 1e-300, None)
    return np.log(p[..., :-1]) - np.log(p[..., -1:])


def _from_log_ratio(a):
    return softmax(np.concatenate([a, np.zeros((*a.shape[:-1], 1))], axis=-1), axis=-1)


def _cholesky_to_vector(covariance):
    factor = np.linalg.cholesky(covariance)
    d = factor.shape[-1]
    diagonal = np.log(np.diagonal(factor, axis1=-2, axis2=-1))
    return np.concatenate([diagonal, factor[..., *np.tril_indices(d, -1)]], axis=-1)


def _cholesky_from_vector(vector, d):
    factor = np.zeros((*vector.shape[:-1], d, d))
    factor[..., *np.diag_indices(d)] = np.exp(vector[..., :d])
    factor[..., *np.tril_indices(d, -1)] = vector[..., d:]
    return factor


class Coordinates:
    """Flattens one family's components to an unconstrained vector and back, shapes taken from a start.

    ``gradient`` is that of sum_nj r_nj log f(x_n | component j) in the vector; by Fisher's identity it is the
    gradient of the log-likelihood where r is the posterior.
    """

    def __init__(self, family, components):
        self.family = family
        self.k, self.d = np.shape(components[0])[:2]

    def split(self, vector):
        return np.split(vector, [self.k * self.d])


class GaussianCoordinates(Coordinates):
    def pack(self, components):
        mean, covariance = (np.asarray(a, float) for a in components)
        cholesky = self.family.covariance in ("full", "tied")
        spread = _cholesky_to_vector(covariance) if cholesky else np.log(covariance)
        return np.concatenate([mean.ravel(), spread.ravel()])

    def unpack(self, vector):
        mean, spread = self.split(vector)
        mean = mean.reshape(self.k, self.d)
        kind = self.family.covariance
        if kind == "diagonal":
            return mean, np.exp(spread).reshape(self.k, self.d)
        if kind == "spherical":
            return mean, np.exp(spread)
        factor = _cholesky_from_vector(spread if kind == "tied" else spread.reshape(self.k, -1), self.d)
        return mean, factor @ np.swapaxes(factor, -1, -2)

    def full_gradient(self, components, x, r):
        """In the means, and in the covariance matrix of each component."""
        mean, covariance = components
        full = oracles.dense(covariance, self.family.covariance, self.k, self.d)
        precision = np.linalg.inv(full)
        grad_mean, grad_full = np.empty_like(mean), np.empty_like(full)
        for j in range(self.k):
            residual = x - mean[j]
            scatter = (r[:, j, None] * residual).T @ residual
            grad_mean[j] = precision[j] @ (r[:, j] @ residual)
            grad_full[j] = 0.5 * precision[j] @ (scatter - r[:, j].sum() * full[j]) @ precision[j]
        return grad_mean, grad_full

    def gradient(self, components, x, r):
        covariance, kind = components[1], self.family.covariance
        grad_mean, grad_full = self.full_gradient(components, x, r)
        full = oracles.dense(covariance, kind, self.k, self.d)
        if kind in ("full", "tied"):
            grad, factor = grad_full, np.linalg.cholesky(full)
            if kind == "tied":
                grad, factor = grad.sum(axis=0), factor[0]
            grad = 2.0 * grad @ factor
            diagonal = np.diagonal(grad * factor, axis1=-2, axis2=-1)
            spread = np.concatenate([diagonal, grad[..., *np.tril_indices(self.d, -1)]], axis=-1)
        else:
            diagonal = np.diagonal(grad_full, axis1=1, axis2=2)
            spread = (diagonal if kind == "diagonal" else diagonal.sum(axis=1)) * covariance
        return np.concatenate([grad_mean.ravel(), spread.ravel()])


class EqualShapeCoordinates(GaussianCoordinates):
    """Log volumes, log shape, and exponentials of skew matrices that turn the orientations of the start.

    ``pack`` is for the start alone, and ``gradient`` for what ``unpack`` returned last.
    """

    def __init__(self, family, components):
        super().__init__(family, components)
        self.axes = np.linalg.eigh(components[1])[1]
        self.ends = np.cumsum([self.k * self.d, self.k, self.d - 1])

    def split(self, vector):
        return np.split(vector, self.ends)

    def pack(self, components):
        log = np.log(np.linalg.eigvalsh(components[1]))
        volume = log.mean(axis=1)
        shape = (log - volume[:, None]).mean(axis=0)[:-1]
        turn = np.zeros(self.k * self.d * (self.d - 1) // 2)
        return np.concatenate([np.ravel(components[0]), volume, shape, turn])

    def turned(self, vector):
        mean, volume, shape, turn = self.split(vector)
        skew = np.zeros((self.k, self.d, self.d))
        skew[:, *np.tril_indices(self.d, -1)] = turn.reshape(self.k, -1)
        skew = skew - np.swapaxes(skew, 1, 2)
        values = np.exp(volume[:, None] + np.append(shape, -shape.sum()))
        return mean.reshape(self.k, self.d), values, skew, self.axes @ np.stack([expm(s) for s in skew])

    def unpack(self, vector):
        self.vector = vector
        mean, values, _, axes = self.turned(vector)
        return mean, np.einsum("kij,kj,klj->kil", axes, values, axes)

    def gradient(self, components, x, r):
        grad_mean, grad_full = self.full_gradient(components, x, r)
        _, values, skew, axes = self.turned(self.vector)
        along = values * np.einsum("kij,kil,klj->kj", axes, grad_full, axes)
        shape = along.sum(axis=0)
        turn = []
        for j in range(self.k):
            outer = np.diag(values[j]) @ axes[j].T @ grad_full[j] @ self.axes[j]
            for a, b in zip(*np.tril_indices(self.d, -1), strict=True):
                unit = np.zeros((self.d, self.d))
                unit[a, b], unit[b, a] = 1.0, -1.0
                turn.append(2.0 * np.sum(outer.T * expm_frechet(skew[j], unit, compute_expm=False)))
        return np.concatenate([grad_mean.ravel(), along.sum(axis=1), shape[:-1] - shape[-1], turn])


class PoissonCoordinates(Coordinates):
    def pack(self, components):
        return np.log(np.asarray(components[0], float)).ravel()

    def unpack(self, vector):
        return (np.exp(vector).reshape(self.k, self.d),)

    def gradient(self, components, x, r):
        return (r.T @ x - r.sum(axis=0)[:, None] * components[0]).ravel()


class BernoulliCoordinates(Coordinates):
    def pack(self, components):
        return logit(np.asarray(components[0], float)).ravel()

    def unpack(self, vector):
        return (1.0 / (1.0 + np.exp(-vector)).reshape(self.k, self.d),)

    def gradient(self, components, x, r):
        return (r.T @ x - r.sum(axis=0)[:, None] * components[0]).ravel()


class CategoricalCoordinates(Coordinates):
    def pack(self, components):
        return _log_ratio(components[0]).ravel()

    def unpack(self, vector):
        return (_from_log_ratio(vector.reshape(self.k, self.d, -1)),)

    def gradient(self, components, x, r):
        indicator = np.asarray(x)[:, :, None] == np.arange(self.family.num_categories)
        counts = np.einsum("nk,ndc->kdc", r, indicator)
        return (counts - r.sum(axis=0)[:, None, None] * components[0])[..., :-1].ravel()


class ProductCoordinates:
    def __init__(self, family, components):
        self.parts = {name: coordinates(part, components[name]) for name, part in family.parts.items()}
        self.ends = np.cumsum([part.pack(components[name]).size for name, part in self.parts.items()])

    def pack(self, components):
        return np.concatenate([part.pack(components[name]) for name, part in self.parts.items()])

    def unpack(self, vector):
        pieces = np.split(vector, self.ends[:-1])
        return {n: part.unpack(piece) for (n, part), piece in zip(self.parts.items(), pieces, strict=True)}

    def gradient(self, components, x, r):
        return np.concatenate([part.gradient(components[n], x[n], r) for n, part in self.parts.items()])


def coordinates(family, components):
    kinds = {
        oracles.Gaussian: GaussianCoordinates,
        oracles.Poisson: PoissonCoordinates,
        oracles.Bernoulli: BernoulliCoordinates,
        oracles.Categorical: CategoricalCoordinates,
        oracles.Product: ProductCoordinates,
    }
    kind = EqualShapeCoordinates if family == oracles.Gaussian("VEV") else kinds[type(family)]
    return kind(family, components)


def unconstrained(family, params, x, weights=None):
    """(pack, unpack, log-likelihood, gradient) in the unconstrained coordinates of a mixture."""
    k = len(params.weights)
    parts = coordinates(family, params.components)
    scale = 1.0 if weights is None else np.asarray(weights, float)[:, None]

    def pack(p):
        return np.concatenate([_log_ratio(p.weights), parts.pack(p.components)])

    def unpack(vector):
        return Mixture(_from_log_ratio(vector[: k - 1]), parts.unpack(vector[k - 1 :]))

    def value(vector):
        return oracles.log_likelihood(family, unpack(vector), x, weights)

    def gradient(vector):
        p = unpack(vector)
        r = scale * oracles.posterior(family, p, x)
        of_weights = r.sum(axis=0) - r.sum() * p.weights
        return np.concatenate([of_weights[:-1], parts.gradient(p.components, x, r)])

    return pack, unpack, value, gradient


def maximize(family, params, x, weights=None, prior=None, concentration=None, tol=1e-7):
    """Maximise log-likelihood + log-prior from a start by BFGS; returns the parameters and the objective.

    Raises AssertionError where the gradient per unit of weight, in the unconstrained coordinates, stays above tol.
    """
    pack, unpack, value, gradient = unconstrained(family, params, x, weights)
    total = float(len(next(iter(x.values())) if isinstance(x, dict) else x) if weights is None else np.sum(weights))
    bayesian = prior is not None or concentration is not None

    def objective(vector):
        penalty = oracles.log_prior(family, unpack(vector), prior, concentration) if bayesian else 0.0
        return -(value(vector) + penalty) / total

    jac = "3-point" if bayesian else lambda vector: -gradient(vector) / total
    options = {"gtol": 0.1 * tol, "maxiter": 5000}
    result = optimize.minimize(objective, pack(params), jac=jac, method="BFGS", options=options)
    if callable(jac) and np.abs(result.jac).max() > tol:
        # Values near the maximum are equal to rounding before the gradient is small; it leads on.
        root = optimize.root(jac, result.x, tol=0.1 * tol)
        assert objective(root.x) <= objective(result.x) + 1e-12
        result.x, result.jac = root.x, jac(root.x)
    assert np.abs(result.jac).max() <= tol, f"BFGS stopped short: {result.message}"
    return unpack(result.x), -total * result.fun
