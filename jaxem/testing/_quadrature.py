"""Points at which a density is summed up: a grid of whole numbers, or quasi-random importance samples."""

from typing import NamedTuple

import numpy as np

_GRID = 20_000  # the largest number of points of a grid
_REPLICATES, _POINTS = 16, 2048


class Points(NamedTuple):
    """Points `[r, m, q]` and the logarithm of the measure of each; `r` estimates of the same integral.

    `exact` where the points are all that can be.
    """

    values: np.ndarray
    log_measure: np.ndarray
    exact: bool


def points(draws: np.ndarray, rows: np.ndarray, seed: int) -> Points:
    """Points for a density from which `draws` `[s, q]` come, or else `rows` `[n, q]`, more or less."""
    both = np.concatenate([draws, rows])
    whole = (both == np.round(both)).all(0) & (np.ptp(both, 0) <= _GRID)
    tables = [_Table(column) for column in both[:, whole].T]
    if whole.all() and np.prod([len(table.values) for table in tables], dtype=float) <= _GRID:
        grid = np.stack(np.meshgrid(*(table.values for table in tables), indexing="ij"), -1).reshape(-1, len(tables))
        return Points(grid[None], np.zeros((1, len(grid))), True)
    # Those about the rows stand in where draws are too narrow.
    return _sampled([draws[:, ~whole], rows[:, ~whole]], whole, tables, seed)


def _sampled(clouds, whole, tables, seed) -> Points:
    from scipy.stats import qmc  # slow to import

    size, free = len(whole), int((~whole).sum())
    curves = []
    for cloud in clouds if free else []:
        positive = (cloud > 0).all(0)
        curves += [_Heavy(cloud, logs) for logs in ([np.zeros(free, bool)] + [positive] * bool(positive.any()))]
    values = np.empty((_REPLICATES, _POINTS, size))
    for i in range(_REPLICATES):
        uniform = qmc.Sobol(size + 2, scramble=True, rng=np.random.default_rng([seed, i])).random(_POINTS)
        uniform = np.clip(uniform, 1e-9, 1 - 1e-9)
        if curves:
            # As many points from each: the density of the mixture is the mean of theirs.
            which = np.minimum((uniform[:, -1] * len(curves)).astype(int), len(curves) - 1)
            made = np.stack([curve.draw(uniform[:, : free + 1]) for curve in curves])
            values[i][:, ~whole] = made[which, np.arange(_POINTS)]
        for t, j in enumerate(np.flatnonzero(whole)):
            values[i][:, j] = tables[t].draw(uniform[:, free + 1 + t])
    flat = values.reshape(-1, size)
    log = np.zeros(len(flat))
    if curves:
        log += np.logaddexp.reduce([curve.log_density(flat[:, ~whole]) for curve in curves], 0) - np.log(len(curves))
    for j, table in zip(np.flatnonzero(whole), tables, strict=True):
        log += table.log_density(flat[:, j])
    return Points(values, (-log - np.log(_POINTS)).reshape(_REPLICATES, _POINTS), False)


class _Table:
    """A column of whole numbers: half as they were drawn, half spread out over more of them."""

    def __init__(self, column: np.ndarray):
        low, high = column.min(), column.max()
        spread = high - low
        self.values = np.arange(low - min(2, spread + 1), high + 4 * spread + 3)
        centre, width = np.median(column), max(np.subtract(*np.quantile(column, (0.75, 0.25))), 1)
        wide = 1 / (1 + ((self.values - centre) / width) ** 2)
        seen = np.bincount((column - self.values[0]).astype(int), minlength=len(self.values))
        self.mass = 0.5 * wide / wide.sum() + 0.5 * seen / seen.sum()
        self.ends = np.cumsum(self.mass)

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        return self.values[np.minimum(np.searchsorted(self.ends, uniform), len(self.values) - 1)]

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.mass[(x - self.values[0]).astype(int)])


class _Heavy:
    """A multivariate t about most of the draws, in logarithms of the columns that `logs` names.

    Its tails are those of a Cauchy distribution where some draws lie far out.
    """

    def __init__(self, draws: np.ndarray, logs: np.ndarray):
        self.logs = logs
        own = self._moved(draws)
        self.centre = np.median(own, 0)
        quartiles = np.quantile(own, 0.75, 0) - np.quantile(own, 0.25, 0)
        width = np.where(quartiles > 0, quartiles, 1) / 1.349
        far = np.abs((own - self.centre) / width).max(1)
        near = own[far <= np.quantile(far, 0.9)]
        covariance = np.atleast_2d(np.cov(near.T)) * 1.5 + 1e-6 * np.diag(width**2)
        self.root = np.linalg.cholesky(covariance)
        self.nu = 1 if (far > 6).any() else 4

    def _moved(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.logs, np.log(x), x)

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        from scipy import stats

        mix = stats.chi2.ppf(uniform[:, 0], self.nu) / self.nu
        normal = stats.norm.ppf(uniform[:, 1:])
        own = self.centre + normal / np.sqrt(mix)[:, None] @ self.root.T
        with np.errstate(over="ignore"):
            return np.where(self.logs, np.exp(np.minimum(own, 80)), own)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import gammaln

        d, nu = len(self.centre), self.nu
        own = self._moved(x)
        inside = np.all(np.isfinite(own), 1)
        z = np.linalg.solve(self.root, np.where(inside[:, None], own - self.centre, 0).T)
        log = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * np.log(nu * np.pi)
        log = log - (nu + d) / 2 * np.log1p((z**2).sum(0) / nu) - np.log(np.diagonal(self.root)).sum()
        jacobian = np.where(self.logs, np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0), 0).sum(1)
        return np.where(inside, log - jacobian, -np.inf)
