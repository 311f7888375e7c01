"""scikit-learn: GaussianMixture, KMeans and LatentDirichletAllocation."""

import time
import warnings
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import FactorAnalysis, LatentDirichletAllocation
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks import _data, _documents, _factors, _memory
from benchmarks.contenders._timed import Passes, Timed

warnings.simplefilter("ignore", ConvergenceWarning)


def _seconds(model: Any, x: np.ndarray, steps: int) -> float:
    """The time of a fit of exactly so many iterations; a run that ends early is an error."""
    began = time.perf_counter()
    model.fit(x)
    elapsed = time.perf_counter() - began
    if model.n_iter_ != steps:
        raise RuntimeError(f"asked for {steps} iterations, got {model.n_iter_}")
    return elapsed


class Iterations(Timed):
    """tol=0 never stops early."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        self.start = _data.starts(self.x, spec["k"], 1)
        self.run(1)

    def run(self, steps: int) -> float:
        weights, means, covariances = (leaf[0] for leaf in self.start)
        structure = self.spec.get("covariance", "full")
        model = GaussianMixture(
            self.spec["k"],
            covariance_type="diag" if structure == "diagonal" else structure,
            tol=0.0,
            max_iter=steps,
            weights_init=weights,
            means_init=means,
            precisions_init=_data.of_structure(np.linalg.inv(covariances), structure),
            init_params="random",
            random_state=0,
        )
        return _seconds(model, self.x, steps)


class Factors(Timed):
    """FactorAnalysis, by its exact decomposition in every iteration."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _factors.table(spec["n"], spec["d"], spec["factors"], 0.0, spec["dtype"])
        self.run(1)

    def run(self, steps: int) -> float:
        model = FactorAnalysis(self.spec["factors"], tol=0.0, max_iter=steps, svd_method="lapack")
        return _seconds(model, self.x, steps)


class KMeansIterations(Timed):
    """Its `KMeans` from given centres, `how` being "lloyd" or "elkan"; a run that converges early is an error."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.overlapping(spec["n"], spec["d"], 8, spec["dtype"])
        self.centres = _data.centres(self.x, spec["k"], 1)[0]
        self.run(1)

    def run(self, steps: int) -> float:
        model = KMeans(self.spec["k"], init=self.centres, n_init=1, tol=0.0, max_iter=steps, algorithm=self.spec["how"])
        return _seconds(model, self.x, steps)


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


class Refits:
    """Fits to samples of rows, from given parameters, one after the other: the first few of them."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        start = np.load(spec["start"])
        self.start = {name: start[name].astype(spec["dtype"]) for name in _data.Start._fields}

    def repetition(self) -> dict:
        spec, rng, steps, reached = self.spec, np.random.default_rng(0), [], []
        began = time.perf_counter()
        precisions = np.linalg.inv(self.start["covariances"])
        for _ in range(spec["few"]):
            model = GaussianMixture(
                spec["k"],
                tol=spec["tol"],
                max_iter=2000,
                weights_init=self.start["weights"] / self.start["weights"].sum(),
                means_init=self.start["means"],
                precisions_init=precisions,
                init_params="random",
                random_state=0,
            )
            sample = self.x[rng.integers(len(self.x), size=len(self.x))]
            steps.append(model.fit(sample).n_iter_)
            reached.append(len(sample) * model.lower_bound_)
        seconds, at = time.perf_counter() - began, float(np.median(reached))
        return {"seconds": seconds, "refits": spec["few"], "steps": float(np.mean(steps)), "log_likelihood": at}


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


class Documents(Passes):
    """LatentDirichletAllocation. The evaluation of the training documents with which a fit ends cancels."""

    def __init__(self, spec: dict):
        self.spec = spec
        self.table, _, _ = _documents.corpus(spec["n"], spec["words"], spec["k"], spec["dtype"])
        self.restart(0)
        self.run(1)  # its processes, if it takes several, stay up

    def restart(self, seed):
        self.state = seed

    def run(self, steps):
        spec, prior = self.spec, 1 / self.spec["k"]
        model = LatentDirichletAllocation(
            spec["k"],
            doc_topic_prior=prior,
            topic_word_prior=prior,
            learning_method="online" if spec["online"] else "batch",
            learning_decay=spec["power"],
            learning_offset=spec["delay"],
            batch_size=spec["rows"],
            max_iter=steps,
            random_state=self.state,
            n_jobs=spec["jobs"],
        )
        began = time.perf_counter()
        model.fit(self.table)
        elapsed = time.perf_counter() - began
        self.topics = model.components_
        if model.n_iter_ != steps or self.topics.dtype != spec["dtype"]:
            raise RuntimeError(f"asked for {steps} passes in {spec['dtype']}, got {model.n_iter_}, {self.topics.dtype}")
        return elapsed


TASKS = {
    "iterations": Iterations,
    "kmeans": KMeansIterations,
    "factors": Factors,
    "restarts": Restarts,
    "refits": Refits,
    "memory": Memory,
    "documents": Documents,
}
