"""Runs of one variant or maximiser: the log-likelihood after each iteration, and the time to get there."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import jaxem
from benchmarks._contest import Variant
from benchmarks._problems import Problem

NEVER = -math.inf
SMALL = 2000  # numbers in the data; below, a long history would cost more than the iterations
LEAST = 0.03  # seconds that a timing lasts


class Trace(NamedTuple):
    """Log-likelihood per row after `steps` iterations and so many `passes` over the data, and the last parameters."""

    steps: np.ndarray
    passes: np.ndarray
    values: np.ndarray
    params: Any
    status: str


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes: the mean of as many as it needs to be measured."""
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < LEAST:
        call()
        count += 1
    return (time.perf_counter() - began) / count


class Solve:
    """A variant of EM, compiled once."""

    def __init__(self, problem: Problem, variant: Variant):
        self.problem, self.variant = problem, variant
        self.monotone = variant.algorithm.monotone and variant.trace == "history"
        self.limit = variant.limit or int(problem.budget / min(variant.passes, 1))
        self.ring = 512 if problem.data.size < SMALL else self.limit + 4
        algorithm = variant.algorithm
        if variant.trace == "draws":
            self.thin = max(int(1 / variant.passes / 4), 1)
            record = jaxem.record.Draws(self.limit // self.thin + 1, 0, self.thin)
            algorithm = dataclasses.replace(algorithm, record=record)

        def program(params, x, steps, tol):
            return jaxem.solve(
                problem.model, params, x, algorithm=algorithm, tol=tol, max_steps=steps, history_size=self.ring
            )

        self.program = jax.jit(program)

    def run(self, steps: int, tol: float = NEVER, params: Any = None) -> jaxem.Fit:
        start = self.problem.start if params is None else params
        return jax.block_until_ready(self.program(start, self.problem.data, steps, tol))

    def seconds(self, steps: int) -> float:
        return timed(lambda: self.run(steps))

    def trace(self) -> Trace:
        steps, values, fit = getattr(self, f"_{self.variant.trace}")()
        return Trace(
            steps,
            steps * self.variant.passes,
            values / self.problem.size,
            fit.params,
            jaxem.status_name(fit.status),
        )

    def _history(self):
        tol = 1e-13 if self.variant.algorithm.monotone else NEVER
        values = np.full(self.limit + 4, np.nan)
        steps = 0
        while True:
            steps = min(steps + self.ring - 1, self.limit)
            fit = self.run(steps, tol)
            done, history = int(fit.num_steps), np.asarray(fit.history)
            first = max(done - self.ring + 1, 0)
            values[first : done + 1] = history[: done + 1 - first]
            if done < steps or steps == self.limit:
                return np.arange(done + 1), values[: done + 1], fit

    def _draws(self):
        fit = self.run(self.limit, 1e-13 if self.variant.algorithm.monotone else NEVER)
        kept = (int(fit.num_steps) - 1) // self.thin + 1
        model, x = self.problem.model, self.problem.data
        values = jax.jit(lambda draws: jax.lax.map(lambda params: model.log_likelihood(params, x), draws))(fit.draws)
        first = model.log_likelihood(self.problem.start, x)
        return np.append(0, 1 + self.thin * np.arange(kept)), np.append(first, values[:kept]), fit

    def _lengths(self):
        longest = min(128, self.problem.budget)
        passes = [2**i for i in range(int(math.log2(longest)) + 1)]
        if self.variant.passes == 1:
            passes += [int(self.problem.budget * share) for share in (0.1, 0.25, 0.5)]
        steps = np.array(sorted({math.ceil(p / self.variant.passes) for p in passes}))
        fits = [self.run(int(s)) for s in steps]
        return steps, np.array([float(fit.log_likelihood) for fit in fits]), fits[-1]


class _Enough(Exception):
    pass


class LBFGS:
    """SciPy's L-BFGS on the negative log-likelihood in the coordinates that the other gradient methods work in.

    A value with its gradient is one pass.
    """

    monotone = True

    def __init__(self, problem: Problem):
        self.problem = problem
        n, x = problem.size, problem.data
        model = problem.model.bind(x, jnp.ones(n))
        flat, unravel = ravel_pytree(model.unconstrain(model.encode(problem.start)))
        self.start = np.asarray(flat)

        def at(flat):
            return model.constrain(unravel(flat))

        def loss(flat, x):
            _, value = model.latent.expectation(model.potentials(model.natural(at(flat)), x))
            return -jnp.sum(value + model.log_base(x)) / n

        self.decode = lambda flat: model.decode(at(jnp.asarray(flat)))
        self.program = jax.jit(jax.value_and_grad(loss))

    def _minimise(self, most: float):
        from scipy.optimize import minimize

        count, found = 0, [(0, -float(self.program(self.start, self.problem.data)[0]))]

        def loss(flat):
            nonlocal count
            if count > most:
                raise _Enough
            count += 1
            value, gradient = self.program(flat, self.problem.data)
            return float(value), np.asarray(gradient)

        def accepted(intermediate_result):
            found.append((count - 1, -float(intermediate_result.fun)))

        options = {"maxiter": self.problem.budget, "maxfun": self.problem.budget, "ftol": 0, "gtol": 1e-9}
        result = None
        with contextlib.suppress(_Enough):
            result = minimize(loss, self.start, jac=True, method="L-BFGS-B", callback=accepted, options=options)
        return result, np.array(found)

    def trace(self) -> Trace:
        result, found = self._minimise(math.inf)
        return Trace(found[:, 0], found[:, 0], found[:, 1], self.decode(result.x), "converged")

    def seconds(self, steps: int) -> float:
        return timed(lambda: self._minimise(steps))
