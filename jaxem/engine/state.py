"""What changes during a run: the iterate, what the rules carry, what the next step is compared with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._status import Status
from jaxem.engine.em import evaluate
from jaxem.engine.move import coordinates
from jaxem.engine.problem import Problem


class Iterate(NamedTuple):
    """The last accepted parameters, and what was found at them."""

    params: PyTree
    stats: PyTree
    objective: Array
    caveat: Any  # the status of a run that ends well here: `converged`, or why it cannot be trusted


class Rules(NamedTuple):
    """What each rule carries from one iteration to the next."""

    e_step: PyTree
    update: PyTree
    m_step: PyTree
    accelerator: PyTree
    termination: PyTree


class Reference(NamedTuple):
    """What the next gain is counted from."""

    objective: Array  # the last one that all rules allowed to compare; minus infinity before there is one
    largest_gain: Array  # of a single step since then, per unit of weight


class State(NamedTuple):
    """One run."""

    iterate: Iterate
    rules: Rules
    reference: Reference
    record: PyTree  # what the record rule has kept
    history: Array  # a ring: the objective after `i` steps is at `i % size`
    status: Any
    num_steps: Array  # evaluations of the EM map, rejected ones included
    fresh: Array  # true until the parameters of the iterate have been evaluated
    key: PRNGKeyArray

    def with_params(self, params: PyTree) -> "State":
        """This state with other parameters in the place of the iterate's."""
        return self._replace(iterate=self.iterate._replace(params=params))

    def noted(self, num_steps: Array, objective: Array) -> Array:
        """The history with the objective after so many steps: a selection, which is fused with others, no scatter."""
        size = self.history.shape[0]
        slot = jax.lax.rem(num_steps, jnp.asarray(size, num_steps.dtype))
        return jnp.where(jax.lax.iota(num_steps.dtype, size) == slot, objective, self.history)


def begin(problem: Problem, params: PyTree, key: PRNGKeyArray, history: int = 1) -> State:
    """The state before anything has been evaluated."""
    algorithm, model, dtype = problem.algorithm, problem.model, problem.weights.dtype
    algorithm.check(model)
    e_state = algorithm.e_step.init(model, params)

    def expected(params, e_state):
        expect = evaluate(problem, model.about(params), algorithm.e_step, params, e_state)
        return expect(problem.data, problem.weights, key)[0]

    shapes = jax.eval_shape(expected, params, e_state)
    lowest = jnp.full((), -jnp.inf, dtype)
    accelerator = algorithm.accelerator
    return State(
        iterate=Iterate(
            params=params,
            stats=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
            objective=lowest,
            caveat=jax.tree.map(jnp.asarray, Status.converged),
        ),
        rules=Rules(
            e_step=e_state,
            update=algorithm.update.init(shapes, problem.data, problem.weights, key),
            m_step=algorithm.m_step.init(model, params),
            accelerator=() if accelerator is None else accelerator.init(coordinates(problem, params)[0]),
            termination=problem.termination.init(params, dtype),
        ),
        reference=Reference(lowest, lowest),
        record=algorithm.record.init(jax.eval_shape(lambda: model.decode(params)), dtype),
        history=jnp.full((history,), jnp.nan, dtype),
        status=jax.tree.map(jnp.asarray, Status.running),
        num_steps=jnp.zeros((), jnp.int32),
        fresh=jnp.ones((), bool),
        key=key,
    )
