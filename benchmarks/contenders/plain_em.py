"""EM for many small data sets, written by hand."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _data
from benchmarks._plain_em import Diagonal, plain_em
from benchmarks.contenders._timed import Timed, lists


def problems(spec: dict) -> tuple[np.ndarray, Diagonal]:
    """Data sets `[problems, n, d]`, and a start for each: means of a few rows, so that no component shrinks to one."""
    x = _data.overlapping(spec["problems"] * spec["n"], spec["d"], spec["k"], spec["dtype"])
    x = x.reshape(spec["problems"], spec["n"], spec["d"])
    weights = np.full((len(x), spec["k"]), 1 / spec["k"], x.dtype)
    variance = np.repeat(x.var(1)[:, None], spec["k"], 1)
    means = x[:, : 8 * spec["k"]].reshape(len(x), spec["k"], 8, -1).mean(2)
    return x, Diagonal(weights, means, variance)


class Small(Timed):
    """All of them side by side, by `vmap`."""

    def one(self, start: Diagonal, x: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
        """Log-likelihood of one data set after so many steps, and how many were made."""
        _, value, num_steps = plain_em(start, x, -jnp.inf, steps)
        return value, num_steps

    def __init__(self, spec: dict):
        self.spec = spec
        self.x, self.start = jax.tree.map(jnp.asarray, problems(spec))
        self.program = jax.jit(jax.vmap(self.one, in_axes=(0, 0, None)))
        self.run(1)
        self.run(spec["check"])
        self.info = {"found": lists(log_likelihood=self.value)}

    def run(self, steps: int) -> float:
        began = time.perf_counter()
        self.value, num_steps = jax.block_until_ready(self.program(self.start, self.x, steps))
        elapsed = time.perf_counter() - began
        if not (num_steps == steps).all() or self.value.dtype != self.spec["dtype"]:
            raise RuntimeError(f"asked for {steps} iterations in {self.spec['dtype']}, got {num_steps}")
        return elapsed


class Bootstrap:
    """Refits to bootstrap samples from one start, by `vmap` over their weights, until the slowest has converged."""

    def __init__(self, spec: dict):
        self.spec = spec
        x, weights, start = _data.bootstrap(spec)
        self.x, self.weights = jnp.asarray(x), jnp.asarray(weights)
        self.start = Diagonal(*map(jnp.asarray, start))
        self.program = jax.jit(jax.vmap(self.one, in_axes=(0, None)))
        self.repetition()

    def one(self, weights: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, value, steps = plain_em(self.start, x, self.spec["tol"], self.spec["max_steps"], weights)
        return value, steps

    def repetition(self) -> dict:
        began = time.perf_counter()
        _, steps = jax.block_until_ready(self.program(self.weights, self.x))
        elapsed = time.perf_counter() - began
        # All lanes go on until the last ends, so that each of its steps is one of every lane.
        return {"seconds": elapsed, "useful": int(steps.sum()), "made": int(steps.max()) * len(steps)}


TASKS = {"small": Small, "bootstrap": Bootstrap}
