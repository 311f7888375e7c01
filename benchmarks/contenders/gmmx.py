"""gmmx: Gaussian mixtures in JAX."""

import time

import gmmx.gmm
import jax
import jax.numpy as jnp

from benchmarks import _data
from benchmarks.contenders._timed import Timed


class Iterations(Timed):
    """EMFitter, compiled."""

    def __init__(self, spec: dict):
        self.spec = spec
        if spec["dtype"] == "float64":
            # It accepts float32 alone; its arithmetic is generic, so that lifting the check is enough to time it.
            gmmx.gmm.check_shape = lambda array, expected: None
            self.info = {"note": "its check for float32 lifted"}
        x = _data.overlapping(spec["n"], spec["d"], spec["k"], spec["dtype"])
        weights, means, covariances = (jnp.asarray(leaf[0]) for leaf in _data.starts(x, spec["k"], 1))
        self.x = jnp.asarray(x)
        self.start = gmmx.GaussianMixtureModelJax.from_squeezed(means=means, covariances=covariances, weights=weights)
        for steps in (spec["few"], spec["few"] + spec["added"]):
            self.run(steps)

    def run(self, steps: int) -> float:
        fitter = gmmx.EMFitter(max_iter=steps, tol=0.0)
        began = time.perf_counter()
        result = jax.block_until_ready(fitter.fit(self.x, self.start))
        elapsed = time.perf_counter() - began
        if int(result.n_iter) != steps or result.gmm.means.dtype != self.x.dtype:
            raise RuntimeError(f"asked for {steps} iterations in {self.x.dtype}, got {result.n_iter}")
        return elapsed


TASKS = {"iterations": Iterations}
