"""One iteration, and the loop around it: pure functions of a `Problem` and a `State`."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._errors import MissingCapabilityError
from jaxem._model import AbstractModel, Reduce, unreduced, weighted_sum
from jaxem._status import Status
from jaxem.e_step import AbstractEStep
from jaxem.kernels.chunks import chunk_rows, local, num_rows, sum_chunks
from jaxem.m_step import Surrogate
from jaxem.termination import AbstractTermination, Step


class Problem(eqx.Module):
    """Everything that stays the same during a run."""

    model: AbstractModel  # bound to the data
    algorithm: Algorithm
    termination: AbstractTermination
    data: PyTree
    weights: Array
    total_weight: Array
    base: Array
    tol: Array
    max_steps: Array
    rows: int | None = eqx.field(static=True)
    reduce: Reduce = eqx.field(static=True)

    @staticmethod
    def make(
        model: AbstractModel,
        algorithm: Algorithm,
        data: PyTree,
        weights: Array,
        *,
        tol: Any,
        max_steps: Any,
        termination: AbstractTermination | None = None,
        rows: int | None = None,
        reduce: Reduce = unreduced,
    ) -> "Problem":
        """A problem for a `model` that has been bound to the data."""
        dtype = weights.dtype
        total, base = reduce((jnp.sum(weights), weighted_sum(weights, model.log_base(data).astype(dtype))))
        return Problem(
            model,
            algorithm,
            termination or algorithm.termination(),
            data,
            weights,
            total,
            base,
            jnp.asarray(tol, dtype),
            jnp.asarray(max_steps, jnp.int32),
            rows,
            reduce,
        )

    def chunk(self, params: PyTree) -> int:
        """Rows in a chunk."""
        return self.rows or chunk_rows(num_rows(self.data), self.model.floats_per_row(params))


class State(NamedTuple):
    """One run: the last accepted parameters, what was found at them, and what the rules carry."""

    params: PyTree
    stats: PyTree
    objective: Array
    status: Any
    num_steps: Array
    fresh: Array  # nothing has been evaluated yet
    doubt: Any  # why `params` could not be trusted if the run ended there; `converged` if they can
    e_state: PyTree
    u_state: PyTree
    m_state: PyTree
    t_state: PyTree
    key: PRNGKeyArray
    history: Array  # a ring: the objective after `i` steps is at `i % size`


def evaluate(
    problem: Problem, model: AbstractModel, e_step: AbstractEStep, params: PyTree, e_state: PyTree, key: PRNGKeyArray
):
    """`expect(data, weights, key) -> (statistics, value)` at `params`, summed over the rows given."""
    naturals, natural = e_step.naturals(model, params, e_state), model.natural(params)

    def expect(data, weights, key):
        own = local(natural, (data, weights))

        def one(chunk, w, index):
            potentials, pull = jax.vjp(lambda natural: model.potentials(natural, chunk), own)
            moments, value = e_step.posterior(model, potentials, naturals, chunk, jax.random.fold_in(key, index))
            # The statistics are the transpose of the map from natural parameters to potentials.
            (stats,) = pull(model.latent.weigh(moments, w))
            return stats, weighted_sum(w, value)

        rows = problem.chunk(params) if num_rows(data) == num_rows(problem.data) else problem.rows
        return problem.reduce(sum_chunks(one, data, weights, rows))

    return expect


def begin(problem: Problem, params: PyTree, key: PRNGKeyArray, history: int = 1) -> State:
    """The state before anything has been evaluated."""
    algorithm, model = problem.algorithm, problem.model
    if algorithm.update.additive and not model.linear:
        raise MissingCapabilityError(
            f"{type(algorithm.update).__name__} averages statistics, and {type(model).__name__} has none "
            "(rung 2: `natural` and linear `potentials`); use the full update"
        )
    dtype = problem.weights.dtype
    e_state = algorithm.e_step.init(model, params)
    expect = evaluate(problem, model.at(params), algorithm.e_step, params, e_state, key)
    shapes, _ = jax.eval_shape(expect, problem.data, problem.weights, key)
    return State(
        params,
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        jnp.full((), -jnp.inf, dtype),
        jax.tree.map(jnp.asarray, Status.running),
        jnp.zeros((), jnp.int32),
        jnp.ones((), bool),
        jax.tree.map(jnp.asarray, Status.converged),
        e_state,
        algorithm.update.init(problem.data, problem.weights, key),
        algorithm.m_step.init(model, params),
        problem.termination.init(params, dtype),
        key,
        jnp.full((history,), jnp.nan, dtype),
    )


def propose(problem: Problem, state: State, key: PRNGKeyArray) -> tuple[PyTree, PyTree]:
    """The M-step: new parameters from the statistics in `state`."""
    algorithm = problem.algorithm
    model = problem.model.at(state.params)
    surrogate = Surrogate(
        model,
        state.stats,
        state.params,
        algorithm.e_step,
        state.e_state,
        problem.data,
        problem.weights,
        key,
        problem.chunk(state.params),
        problem.reduce,
    )
    return algorithm.m_step(surrogate, state.params, state.m_state, key)


def step(problem: Problem, state: State) -> State:
    """Propose parameters, evaluate them, and judge. A fresh run evaluates its start instead."""
    algorithm, fresh = problem.algorithm, state.fresh
    key = jax.random.fold_in(state.key, state.num_steps)
    proposed, m_state = propose(problem, state, key)
    params = _where(fresh, state.params, proposed)
    m_state = _where(fresh, state.m_state, m_state)

    model = problem.model.at(params)
    previous = (
        model.translate(state.stats, problem.model.at(state.params)) if algorithm.update.additive else state.stats
    )
    expect = evaluate(problem, model, algorithm.e_step, params, state.e_state, key)
    stats, value, u_state = algorithm.update(
        expect, model, previous, fresh, problem.data, problem.weights, state.u_state, key, problem.reduce
    )
    objective = value + problem.base + problem.model.log_prior(params).astype(value.dtype)

    loss = problem.model.loss(params).astype(value.dtype)
    eps = jnp.finfo(value.dtype).eps
    gain = (objective - state.objective) / problem.total_weight
    noise = 8 * eps * (jnp.abs(objective / problem.total_weight) + 1) + 4 * loss
    finite = jnp.isfinite(objective) & _all_finite(params) & _all_finite(stats)
    inaccurate = (loss > jnp.sqrt(eps)) & (problem.model.accurate() is not None)
    fell = ~fresh & algorithm.monotone & (gain < -noise)

    decoded = problem.model.decode
    judged, t_state = problem.termination(
        Step(decoded(state.params), decoded(params), objective, gain, state.num_steps + 1, noise),
        problem.tol,
        state.t_state,
    )
    num_steps = jnp.where(fresh, 0, state.num_steps + 1)
    status = _first(
        (~finite, Status.not_finite),
        (inaccurate, Status.inaccurate),
        (fell, Status.objective_decreased),
        (judged & ~fresh, problem.termination.done),
        (num_steps >= problem.max_steps, problem.termination.at_limit),
    )
    accepted = finite & ~inaccurate & ~fell
    doubt = _first(
        (problem.model.degenerate(params), Status.degenerate_component),
        (loss > jnp.sqrt(eps), Status.inaccurate),
        otherwise=Status.converged,
    )
    new = State(
        params,
        stats,
        objective,
        status,
        num_steps,
        jnp.zeros((), bool),
        doubt,
        _where(fresh, state.e_state, algorithm.e_step.update(problem.model, params, state.e_state)),
        u_state,
        m_state,
        _where(fresh, state.t_state, t_state),
        state.key,
        state.history.at[num_steps % state.history.shape[0]].set(objective),
    )
    # What is rejected leaves the last good iterate in place, with the reason.
    new = _where(accepted, new, state._replace(status=status))
    # At the floor of a covariance a fall is rounding too: what matters is that the fit is degenerate.
    fallen = (new.status == Status.objective_decreased) & (new.doubt == Status.degenerate_component)
    ended = (new.status == Status.converged) | (new.status == Status.completed) | fallen
    doubtful = ended & (new.doubt != Status.converged)
    return new._replace(status=Status.where(doubtful, new.doubt, new.status))


def run(problem: Problem, state: State, limit: Any = None) -> State:
    """Iterate until the run ends, or for `limit` evaluations."""

    def body(carry):
        count, state = carry
        return count + 1, step(problem, state)

    def going(carry):
        count, state = carry
        more = state.status == Status.running
        return more if limit is None else more & (count < limit)

    return jax.lax.while_loop(going, body, (jnp.zeros((), jnp.int32), state))[1]


def on_accurate_kernel(problem: Problem) -> Problem | None:
    """The same problem on the model's accurate kernel, if it has one."""
    model = problem.model.accurate()
    if model is None:
        return None
    # The kernels may divide a density differently between what depends on the parameters and what does not.
    base = weighted_sum(problem.weights, model.log_base(problem.data).astype(problem.base.dtype))
    return dataclasses.replace(problem, model=model, base=problem.reduce(base))


def resume(problem: Problem, state: State) -> State:
    """A run that stopped for lack of accuracy, ready to go on under `problem`; any other is left as it is."""
    stopped = state.status == Status.inaccurate
    renewed = begin(problem, state.params, state.key, state.history.shape[0])
    renewed = renewed._replace(num_steps=state.num_steps, history=state.history)
    return _where(stopped, renewed, state)


def _where(pred: Array, a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: x if x is y else jnp.where(pred, x, y), a, b)


def _first(*cases: tuple[Array, Any], otherwise: Any = Status.running) -> Any:
    status = otherwise
    for pred, item in reversed(cases):
        status = Status.where(pred, item, status)
    return status


def _all_finite(tree: PyTree) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
