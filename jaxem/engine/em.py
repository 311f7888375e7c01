"""The two halves of an EM iteration, E-step and M-step, for the loop and for those who differentiate it."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._bound import AbstractBound
from jaxem.e_step import AbstractEStep
from jaxem.engine.problem import Problem
from jaxem.kernels.chunks import num_rows, per_device, sum_chunks
from jaxem.kernels.sums import weighted_sum
from jaxem.m_step import Surrogate

if TYPE_CHECKING:
    from jaxem.engine.state import State


def evaluate(
    problem: Problem,
    model: AbstractBound,
    e_step: AbstractEStep,
    params: PyTree,
    e_state: PyTree,
    natural: PyTree = None,
):
    """`expect(data, weights, key) -> (statistics, value)` at `params`, summed over the rows given.

    `natural` is `model.natural(params)`, where that is at hand.
    """
    natural = model.natural(params) if natural is None else natural
    model = model.integrated() if e_step.integrates else model
    extras = e_step.extras(model, params, e_state)
    # Once for all chunks, and so is the way back of their statistics.
    prepared, pull = jax.vjp(model.prepare, natural)

    def expect(data, weights, key):
        shared = per_device(prepared, (data, weights))

        def one(chunk, w, index):
            stats, value = e_step.collect(model, shared, extras, chunk, w, jax.random.fold_in(key, index))
            return stats, weighted_sum(w, value)

        rows = problem.chunk(params) if num_rows(data) == num_rows(problem.data) else problem.chunk_rows
        stats, value = problem.reduce(sum_chunks(one, data, weights, rows))
        return pull(stats)[0], value

    return expect


def score(
    problem: Problem,
    model: AbstractBound,
    e_step: AbstractEStep,
    params: PyTree,
    e_state: PyTree,
    key: PRNGKeyArray,
) -> Array:
    """The value that `evaluate` reports for all rows at `params`, without the statistics."""
    model = model.integrated() if e_step.integrates else model
    extras = e_step.extras(model, params, e_state)
    shared = per_device(model.prepare(model.natural(params)), (problem.data, problem.weights))

    def one(chunk, w, index):
        potentials = model.potentials(shared, chunk)
        value = e_step.posterior(model, potentials, extras, chunk, jax.random.fold_in(key, index))[1]
        return (), weighted_sum(w, value)

    return problem.reduce(sum_chunks(one, problem.data, problem.weights, problem.chunk(params)))[1] + problem.base


def surrogate(problem: Problem, state: "State", key: PRNGKeyArray) -> Surrogate:
    """Q at the parameters in `state`, from the statistics there, which were taken with `key`."""
    params, stats = state.iterate.params, state.iterate.stats
    return Surrogate(
        problem.model.about(params),
        stats,
        params,
        problem.algorithm.e_step,
        state.rules.e_step,
        problem.data,
        problem.weights,
        key,
        problem.chunk(params),
        problem.reduce,
    )


def propose(problem: Problem, state: "State", keys: tuple[PRNGKeyArray, PRNGKeyArray]) -> tuple[PyTree, PyTree]:
    """The M-step: new parameters from the statistics in `state`.

    `keys` are the one that the statistics were taken with, and one for the M rule.
    """
    q = surrogate(problem, state, keys[0])
    return problem.algorithm.m_step(q, state.iterate.params, state.rules.m_step, keys[1])


def sweeper(problem: Problem, params: PyTree, key: PRNGKeyArray):
    """`sweep(fn)` sums `fn(chunk, weights, key)` over the rows, with the keys that the last evaluation used."""

    def sweep(fn):
        def one(chunk, w, index):
            return fn(chunk, w, jax.random.fold_in(key, index)), jnp.zeros((), w.dtype)

        return problem.reduce(sum_chunks(one, problem.data, problem.weights, problem.chunk(params)))[0]

    return sweep
