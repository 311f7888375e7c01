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


TASKS = {"small": Small}
