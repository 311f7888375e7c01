"""scikit-learn's GaussianMixture."""

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks import _data, _memory

warnings.simplefilter("ignore", ConvergenceWarning)


class Iterations:
    """Seconds per iteration: two fits from the same start, one with more iterations; tol=0 never stops early."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        self.start = _data.starts(self.x, spec["k"], 1)
        self.fit(1)

    def fit(self, steps: int) -> float:
        weights, means, covariances = (leaf[0] for leaf in self.start)
        model = GaussianMixture(
            self.spec["k"],
            tol=0.0,
            max_iter=steps,
            weights_init=weights,
            means_init=means,
            precisions_init=np.linalg.inv(covariances),
            init_params="random",
            random_state=0,
        )
        began = time.perf_counter()
        model.fit(self.x)
        elapsed = time.perf_counter() - began
        if model.n_iter_ != steps:
            raise RuntimeError(f"asked for {steps} iterations, got {model.n_iter_}")
        return elapsed

    def repetition(self) -> dict:
        few, added = self.spec["few"], self.spec["added"]
        return {"seconds": (self.fit(few + added) - self.fit(few)) / added}


class Restarts:
    """Many starts of one model to convergence, as its users write it."""

    def __init__(self, spec: dict):
        self.spec = spec

    def repetition(self) -> dict:
        began = time.perf_counter()
        x = np.load(self.spec["path"])
        model = GaussianMixture(
            self.spec["k"],
            n_init=self.spec["starts"],
            tol=self.spec["tol"],
            max_iter=self.spec["max_steps"],
            random_state=self.spec["seed"],
        ).fit(x)
        return {
            "seconds": time.perf_counter() - began,
            "weights": model.weights_.tolist(),
            "means": model.means_.tolist(),
            "covariances": model.covariances_.tolist(),
        }


class Memory:
    def __init__(self, spec: dict):
        self.spec = spec

    def repetition(self) -> dict:
        before = _memory.resident()
        x = np.load(self.spec["path"])
        loaded = _memory.resident()
        began = time.perf_counter()
        model = GaussianMixture(self.spec["k"], max_iter=self.spec["max_steps"], init_params="random_from_data")
        model.fit(x)
        return {
            "seconds": time.perf_counter() - began,
            "before": before,
            "loaded": loaded,
            "peak": _memory.peak(),
        }


TASKS = {"iterations": Iterations, "restarts": Restarts, "memory": Memory}
