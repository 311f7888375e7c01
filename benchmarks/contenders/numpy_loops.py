"""Factor analysis of rows with missing entries as it is written in NumPy, without any package for it."""

import time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import _factors
from benchmarks.contenders._timed import Timed, lists


class Rows(Timed):
    """A loop over the rows, each with the columns that it has; the M-step is of whole arrays. The small products of the
    loop run in one thread, which is faster."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _factors.table(spec["n"], spec["d"], spec["factors"], spec["missing"], spec["dtype"])
        self.start = _factors.start(self.x, spec["factors"])
        known = ~np.isnan(self.x)
        self.known, self.filled = known.astype(self.x.dtype), np.where(known, self.x, 0)
        self.columns = [np.flatnonzero(row) for row in known]
        self.entries = [row[columns] for row, columns in zip(self.x, self.columns, strict=True)]
        self.run(spec["check"])
        self.info = {"found": lists(**self.found._asdict())}

    def run(self, steps: int) -> float:
        params = self.start
        began = time.perf_counter()
        for _ in range(steps):
            z, covariance, _ = self.posterior(*params)
            params = self.maximised(z, covariance)
        elapsed = time.perf_counter() - began
        self.found = params
        if params.loading.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {self.spec['dtype']}, got {params.loading.dtype}")
        return elapsed

    @threadpool_limits.wrap(1)
    def posterior(self, mean, loading, noise_variance):
        q = loading.shape[1]
        scaled, eye, log_noise = loading / noise_variance[:, None], np.eye(q), np.log(2 * np.pi * noise_variance)
        z, covariance = np.empty((len(self.x), q)), np.empty((len(self.x), q, q))
        value = 0.0
        for i, (columns, entries) in enumerate(zip(self.columns, self.entries, strict=True)):
            own, residual = scaled[columns], entries - mean[columns]
            factor = np.linalg.cholesky(eye + own.T @ loading[columns])
            half = np.linalg.inv(factor)
            white = half @ (residual @ own)
            z[i], covariance[i] = white @ half, half.T @ half
            apart = residual @ (residual / noise_variance[columns]) - white @ white
            value -= 0.5 * (apart + log_noise[columns].sum()) + np.log(factor.diagonal()).sum()
        return z, covariance, value

    def maximised(self, z, covariance) -> _factors.Start:
        """Each column regressed on the factors and 1, over the rows that have it."""
        n, q = z.shape
        design = np.concatenate([z, np.ones((n, 1))], axis=1)
        second = design[:, :, None] * design[:, None, :]
        second[:, :q, :q] += covariance
        gram = (self.known.T @ second.reshape(n, -1)).reshape(-1, q + 1, q + 1)
        cross = self.filled.T @ design
        found = np.linalg.solve(gram, cross[..., None])[..., 0]
        squares = np.sum(self.filled**2, axis=0) - np.sum(found * cross, axis=1)
        return _factors.Start(found[:, q], found[:, :q], squares / self.known.sum(0))


class Whole(Rows):
    """All rows at once, with the same M-step."""

    def posterior(self, mean, loading, noise_variance):
        return _factors.posterior(self.x, mean, loading, noise_variance)


TASKS = {"factors": Rows, "factors, whole": Whole}
