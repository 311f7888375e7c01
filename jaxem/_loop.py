"""One iteration, and the loop around it: pure functions of a `Problem` and a `State`."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._algorithm import Algorithm
from jaxem._coordinates import vector
from jaxem._model import AbstractModel, Reduce, collect, unreduced, weighted_sum
from jaxem._status import Status
from jaxem.e_step import AbstractEStep
from jaxem.families.priors import all_have_modes
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
    judged: Array  # the objective that the next gain is counted from
    rise: Array  # the largest gain of one step since then
    status: Any
    num_steps: Array  # evaluations of the EM map, rejected ones included
    fresh: Array  # `params` have not been evaluated yet
    doubt: Any  # why `params` could not be trusted if the run ended there; `converged` if they can
    e_state: PyTree
    u_state: PyTree
    m_state: PyTree
    a_state: PyTree
    r_state: PyTree
    t_state: PyTree
    key: PRNGKeyArray
    history: Array  # a ring: the objective after `i` steps is at `i % size`


def evaluate(
    problem: Problem,
    model: AbstractModel,
    e_step: AbstractEStep,
    params: PyTree,
    e_state: PyTree,
    natural: PyTree = None,
):
    """`expect(data, weights, key) -> (statistics, value)` at `params`, summed over the rows given.

    `natural` is `model.natural(params)`, where that is at hand.
    """
    naturals = e_step.naturals(model, params, e_state)
    natural = model.natural(params) if natural is None else natural
    # Once for all chunks, and so is the way back of their statistics.
    prepared, pull = jax.vjp(model.prepare, natural)

    def expect(data, weights, key):
        own = local(prepared, (data, weights))

        def one(chunk, w, index):
            def posterior(potentials):
                return e_step.posterior(model, potentials, naturals, chunk, jax.random.fold_in(key, index))

            stats, value = collect(model, own, chunk, w, posterior)
            return stats, weighted_sum(w, value)

        rows = problem.chunk(params) if num_rows(data) == num_rows(problem.data) else problem.rows
        stats, value = problem.reduce(sum_chunks(one, data, weights, rows))
        return pull(stats)[0], value

    return expect


def enter(model: Any, params: PyTree, data: PyTree, weights: Array, lifted: bool, reduce: Reduce = unreduced) -> PyTree:
    """The user's parameters as those of the bound `model`, which is one of posteriors if the M rule `lifted` it."""
    return model.lift(model.model.encode(params), data, weights, reduce) if lifted else model.encode(params)


def begin(problem: Problem, params: PyTree, key: PRNGKeyArray, history: int = 1) -> State:
    """The state before anything has been evaluated."""
    algorithm, model = problem.algorithm, problem.model
    algorithm.check(model)
    dtype = problem.weights.dtype
    e_state = algorithm.e_step.init(model, params)
    expect = evaluate(problem, model.at(params), algorithm.e_step, params, e_state)
    shapes, _ = jax.eval_shape(expect, problem.data, problem.weights, key)
    lowest = jnp.full((), -jnp.inf, dtype)
    return State(
        params,
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        lowest,
        lowest,
        lowest,
        jax.tree.map(jnp.asarray, Status.running),
        jnp.zeros((), jnp.int32),
        jnp.ones((), bool),
        jax.tree.map(jnp.asarray, Status.converged),
        e_state,
        algorithm.update.init(shapes, problem.data, problem.weights, key),
        algorithm.m_step.init(model, params),
        () if algorithm.accelerator is None else algorithm.accelerator.init(_coordinates(problem, params)[0]),
        algorithm.record.init(jax.eval_shape(lambda: model.decode(params)), dtype),
        problem.termination.init(params, dtype),
        key,
        jnp.full((history,), jnp.nan, dtype),
    )


def rehearse(model: AbstractModel, algorithm: Algorithm, iteration: Callable[[], Any]) -> None:
    """Raise the `ValueError` of an M-step that needs the mode of a prior which has none, while its values are known.

    Inside a compiled loop they are not, and parameters that are not finite would be the only sign of it. Nothing is
    computed, and nothing traced unless there is such a prior.
    """
    if algorithm.m_step.rung == 2 and not all_have_modes(model):
        jax.eval_shape(iteration)


def surrogate(problem: Problem, state: State, key: PRNGKeyArray) -> Surrogate:
    """Q at the parameters in `state`, from the statistics there, which were taken with `key`."""
    return Surrogate(
        problem.model.at(state.params),
        state.stats,
        state.params,
        problem.algorithm.e_step,
        state.e_state,
        problem.data,
        problem.weights,
        key,
        problem.chunk(state.params),
        problem.reduce,
    )


def propose(problem: Problem, state: State, keys: tuple[PRNGKeyArray, PRNGKeyArray]) -> tuple[PyTree, PyTree]:
    """The M-step: new parameters from the statistics in `state`.

    `keys` are the one that the statistics were taken with, and one for the M rule.
    """
    q = surrogate(problem, state, keys[0])
    return problem.algorithm.m_step(q, state.params, state.m_state, keys[1])


def _coordinates(problem: Problem, params: PyTree) -> tuple[Array, Any]:
    """What the accelerator works in, `[p]`, and the function that takes it back."""
    model = problem.model
    if problem.algorithm.accelerator.unconstrained:  # pyright: ignore[reportOptionalMemberAccess]
        return vector(model, params)
    moving, fixed = eqx.partition(params, model.trainable(params))
    flat, unravel = ravel_pytree(moving)

    def back(flat: Array) -> PyTree:
        moved = eqx.combine(unravel(flat), fixed)
        # Outside of the domain the bijection does not lead back to where it came from.
        again = model.constrain(model.unconstrain(moved))
        eps = jnp.sqrt(jnp.finfo(flat.dtype).eps)
        close = jax.tree.map(lambda a, b: jnp.all(jnp.abs(a - b) <= eps * (1 + jnp.abs(a))), moved, again)
        inside = jnp.all(jnp.stack(jax.tree.leaves(close)))
        return jax.tree.map(lambda leaf: jnp.where(inside, leaf, jnp.full_like(leaf, jnp.nan)), moved)

    return flat, back


def sweeper(problem: Problem, params: PyTree, key: PRNGKeyArray):
    """`sweep(fn)` sums `fn(chunk, weights, key)` over the rows, with the keys that the last evaluation used."""

    def sweep(fn):
        def one(chunk, w, index):
            return fn(chunk, w, jax.random.fold_in(key, index)), jnp.zeros((), w.dtype)

        return problem.reduce(sum_chunks(one, problem.data, problem.weights, problem.chunk(params)))[0]

    return sweep


def _keys(key: PRNGKeyArray, num_steps: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    return jax.random.fold_in(key, 2 * num_steps), jax.random.fold_in(key, 2 * num_steps + 1)


class _Move(NamedTuple):
    """Where an iteration goes, and what the rules carry on from there."""

    params: PyTree
    mapped: PyTree  # what the M-step proposed, before any extrapolation
    plain: Array  # whether the move is that of the rules themselves, with nothing extrapolated
    settled: Array  # whether it is not one of several that an accelerator takes before it may be judged
    e_state: Any
    m_state: Any
    a_state: Any
    back: Any  # turns coordinates of an accelerator into parameters; `None` without one


def _move(problem: Problem, state: State) -> _Move:
    """The M-step, and what E rule and accelerator make of it; none of it for a fresh run."""
    algorithm, keys = problem.algorithm, _keys(state.key, state.num_steps)
    e_step, accelerator = algorithm.e_step, algorithm.accelerator
    mapped, m_state = propose(problem, state, keys)
    ready = algorithm.update.ready(state.u_state)
    if ready is not True:
        mapped, m_state = _where(ready, (mapped, m_state), (state.params, state.m_state))
    sweep = sweeper(problem, state.params, keys[0])
    mapped, e_state = e_step.review(sweep, problem.model, state.params, mapped, state.e_state, keys[1])
    proposed, a_state, back = mapped, state.a_state, None
    plain, settled = e_step.plain(state.e_state), jnp.ones((), bool)
    if accelerator is not None:
        here, back = _coordinates(problem, state.params)
        target, a_state = accelerator(here, _coordinates(problem, mapped)[0], state.a_state)
        # A plain step is taken as it is: there and back would round it.
        proposed = _where(accelerator.plain(a_state), mapped, back(target))
        plain, settled = plain & accelerator.plain(a_state), accelerator.settled(a_state)
    params, m_state, e_state, a_state = _where(
        state.fresh,
        (state.params, state.m_state, state.e_state, state.a_state),
        (proposed, m_state, e_state, a_state),
    )
    return _Move(params, mapped, plain, settled, e_state, m_state, a_state, back)


def step(problem: Problem, state: State) -> State:
    """Propose parameters, evaluate them, and judge. A fresh run evaluates where it is instead."""
    algorithm, fresh = problem.algorithm, state.fresh
    e_step, update = algorithm.e_step, algorithm.update
    move = _move(problem, state)
    params, e_state, m_state = move.params, move.e_state, move.m_state

    num_steps = jnp.where(fresh, state.num_steps, state.num_steps + 1)
    key = _keys(state.key, num_steps)[0]
    model = problem.model.at(params)
    natural = model.natural(params)
    expect = evaluate(problem, model, e_step, params, e_state, natural)
    stats, value, u_state = update(
        expect,
        lambda stats: model.translate(stats, problem.model.at(state.params)),
        natural,
        state.stats,
        fresh,
        problem.data,
        problem.weights,
        state.u_state,
        key,
        problem.reduce,
    )
    objective = value + problem.base + problem.model.log_prior(params).astype(value.dtype)

    loss = problem.model.loss(params, natural).astype(value.dtype)
    eps = jnp.finfo(value.dtype).eps
    settled = e_step.settled(e_state) & update.settled(u_state) & algorithm.m_step.settled(m_state) & move.settled
    gain = (objective - state.judged) / problem.total_weight
    known = settled & jnp.isfinite(state.judged)
    # Neither a value thrown far away nor a loss that nobody would trust may make a fall pass for rounding.
    size = jnp.minimum(jnp.abs(objective), jnp.abs(state.judged)) / problem.total_weight
    noise = 8 * eps * (size + 1) + 4 * jnp.minimum(loss, jnp.sqrt(eps))
    rise = jnp.where(fresh, state.rise, jnp.maximum(state.rise, (objective - state.objective) / problem.total_weight))
    finite = jnp.isfinite(objective) & _all_finite(params) & _all_finite(stats)
    untrusted, degenerate = loss > jnp.sqrt(eps), problem.model.degenerate(params)
    inaccurate = untrusted & (problem.model.accurate() is not None)
    # On the way to a likelihood without bound nothing better is to come once the digits are gone.
    collapsed = untrusted & degenerate & ~inaccurate & ~fresh
    fell = known & ~fresh & algorithm.monotone & (gain < -noise)
    lost = ~finite | inaccurate | collapsed | fell
    retry = lost & ~move.plain & ~fresh

    decoded = problem.model.decode
    judged, t_state = problem.termination(
        Step(decoded(state.params), decoded(move.mapped), objective, gain, num_steps, noise, rise),
        problem.tol,
        state.t_state,
    )
    judged = judged & known & ~fresh
    own = e_step.converged(e_state, problem.tol, problem.total_weight)
    if own is not None:
        judged = own & ~fresh
    status = _first(
        (retry & (num_steps >= problem.max_steps), problem.termination.at_limit),
        (retry, Status.running),
        (~finite, Status.not_finite),
        (inaccurate, Status.inaccurate),
        (collapsed, Status.degenerate_component),
        (fell, Status.objective_decreased),
        (judged, problem.termination.done),
        ((num_steps >= problem.max_steps) & move.settled, problem.termination.at_limit),
    )
    doubt = _first(
        (degenerate, Status.degenerate_component),
        (untrusted, Status.inaccurate),
        otherwise=Status.converged,
    )
    recorded = algorithm.record.add(state.r_state, decoded(params), num_steps, problem.max_steps)
    new = State(
        params,
        stats,
        objective,
        jnp.where(settled, objective, state.judged),
        jnp.where(settled, -jnp.inf, rise),
        status,
        num_steps,
        jnp.zeros((), bool),
        doubt,
        e_state,
        u_state,
        m_state,
        move.a_state,
        _where(fresh, state.r_state, recorded),
        _where(fresh | ~known, state.t_state, t_state),
        state.key,
        _noted(state.history, num_steps, objective),
    )
    return _with_doubt(_where(~lost, new, _rejected(problem, state, move, status, num_steps, retry)))


def _noted(history: Array, num_steps: Array, objective: Array) -> Array:
    """The ring with the objective after so many steps: a selection, which is fused with others, and no scatter."""
    size = history.shape[0]
    return jnp.where(jnp.arange(size, dtype=num_steps.dtype) == num_steps % size, objective, history)


def _rejected(problem: Problem, state: State, move: _Move, status: Array, num_steps: Array, retry: Array) -> State:
    """The last good iterate: with the reason, or to go on from without extrapolation where it is tried again."""
    kept, algorithm = state._replace(status=status), problem.algorithm
    if not algorithm.extrapolates:
        return kept
    again = state._replace(
        status=status,
        num_steps=num_steps,
        fresh=jnp.ones((), bool),
        e_state=algorithm.e_step.reset(problem.model, state.params, state.e_state),
        history=_noted(state.history, num_steps, state.objective),
    )
    if algorithm.accelerator is not None:
        target, restarted = algorithm.accelerator.rejected(move.a_state)
        again = again._replace(params=move.back(target), a_state=restarted)
    return _where(retry, again, kept)


def _with_doubt(state: State) -> State:
    """A run that has ended well, but where its result cannot be trusted, with the reason for its status."""
    # Where the iterate is in doubt a fall is only a sign of it: what matters is that the fit is degenerate.
    fallen = state.status == Status.objective_decreased
    ended = (state.status == Status.converged) | (state.status == Status.completed) | fallen
    doubtful = ended & (state.doubt != Status.converged)
    return state._replace(status=Status.where(doubtful, state.doubt, state.status))


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
    return jnp.all(jnp.concatenate([jnp.ravel(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
