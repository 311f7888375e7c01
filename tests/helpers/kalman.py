"""The joint Gaussian of a short state-space series, dense, in NumPy; shares no code with the package."""

import numpy as np

import jaxem


def prior(params, steps):
    """Mean `[T q]` and covariance of all states."""
    m0, p0, a, noise, b = (
        np.asarray(v, float)
        for v in (
            params.initial_mean,
            params.initial_covariance,
            params.transition,
            matrix(params.transition_covariance),
            np.zeros(len(params.initial_mean)) if params.transition_intercept is None else params.transition_intercept,
        )
    )
    q = len(m0)
    # z = L (z_1, w_2, ..., w_T), block by block.
    lower = np.zeros((steps * q, steps * q))
    for t in range(steps):
        for s in range(t + 1):
            lower[t * q : (t + 1) * q, s * q : (s + 1) * q] = np.linalg.matrix_power(a, t - s)
    inner = np.kron(np.eye(steps), noise)
    inner[:q, :q] = p0
    return lower @ np.concatenate([m0, np.tile(b, steps - 1)]), lower @ inner @ lower.T


def matrix(covariance):
    covariance = np.asarray(covariance, float)
    return np.diag(covariance) if covariance.ndim == 1 else covariance


def condition(params, y):
    """Log density of `y` `[T, d]` (NaN: missing), and mean and covariance of all states given it."""
    steps, d = y.shape
    mean, covariance = prior(params, steps)
    view = np.kron(np.eye(steps), np.asarray(params.observation, float))
    offset = np.zeros(d) if params.observation_intercept is None else np.asarray(params.observation_intercept, float)
    spread = view @ covariance @ view.T + np.kron(np.eye(steps), matrix(params.observation_covariance))
    seen = ~np.isnan(y.ravel())
    residual = (y.ravel() - view @ mean - np.tile(offset, steps))[seen]
    spread, tied = spread[np.ix_(seen, seen)], (covariance @ view.T)[:, seen]
    gain = np.linalg.solve(spread, tied.T).T
    log_prob = -0.5 * (seen.sum() * np.log(2 * np.pi) + np.linalg.slogdet(spread)[1])
    log_prob -= 0.5 * residual @ np.linalg.solve(spread, residual)
    return log_prob, mean + gain @ residual, covariance - gain @ tied.T


def random_params(q, d, seed=0, transition="full", observation="full", intercepts=False, dtype=float):
    rng = np.random.default_rng(seed)

    def covariance(k, kind):
        root = rng.standard_normal((k, k))
        full = root @ root.T / k + 0.3 * np.eye(k)
        return full if kind == "full" else np.diag(full).copy()

    leaves = (
        rng.standard_normal(q),
        covariance(q, "full"),
        0.5 * rng.standard_normal((q, q)),
        covariance(q, transition),
        rng.standard_normal((d, q)),
        covariance(d, observation),
        rng.standard_normal(q) if intercepts else None,
        rng.standard_normal(d) if intercepts else None,
    )
    return jaxem.models.StateSpaceParams(*(None if leaf is None else np.asarray(leaf, dtype) for leaf in leaves))  # pyright: ignore[reportArgumentType]
