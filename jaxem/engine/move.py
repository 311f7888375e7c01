"""Where an iteration goes: the M-step, and what E rule and accelerator make of it."""

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._coordinates import vector
from jaxem.engine.em import propose, sweeper
from jaxem.engine.problem import Problem
from jaxem.engine.trees import choose, every

if TYPE_CHECKING:
    from jaxem.engine.state import Rules, State


class Move(NamedTuple):
    """Where an iteration goes, and what the rules carry on from there."""

    params: PyTree
    mapped: PyTree  # what the M-step proposed, before any extrapolation
    rules: "Rules"
    plain: Any  # true for a move of the rules themselves, with nothing extrapolated
    comparable: Any  # false for a move of an accelerator that leads to a point on its way only
    back: Any  # turns coordinates of an accelerator into parameters; `None` without one


def next_move(problem: Problem, state: "State") -> Move:
    """The move from the iterate in `state`. A fresh run stays where it is: its iterate is to be evaluated first."""
    algorithm, keys = problem.algorithm, step_keys(state.key, state.num_steps)
    (here, rules), e_step, accelerator = (state.iterate.params, state.rules), algorithm.e_step, algorithm.accelerator
    mapped, m_state = propose(problem, state, keys)
    mapped, m_state = choose(algorithm.update.ready(rules.update), (mapped, m_state), (here, rules.m_step))
    sweep = sweeper(problem, here, keys[0])
    mapped, e_state = e_step.review(sweep, problem.model, here, mapped, rules.e_step, keys[1])
    moved = rules._replace(e_step=e_state, m_step=m_state)
    params, plain, comparable, back = mapped, e_step.plain(rules.e_step), True, None
    if accelerator is not None:
        flat, back = coordinates(problem, here)
        target, a_state = accelerator(flat, coordinates(problem, mapped)[0], rules.accelerator)
        # A plain step is taken as it is: there and back would round it.
        params = choose(accelerator.plain(a_state), mapped, back(target))
        plain, comparable = every(plain, accelerator.plain(a_state)), accelerator.comparable(a_state)
        moved = moved._replace(accelerator=a_state)
    params, moved = choose(state.fresh, (here, rules), (params, moved))
    return Move(params, mapped, moved, plain, comparable, back)


def coordinates(problem: Problem, params: PyTree) -> tuple[Array, Any]:
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


def step_keys(key: PRNGKeyArray, num_steps: Array) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The key of the statistics after `num_steps`, and that of the M-step which follows them."""
    return jax.random.fold_in(key, 2 * num_steps), jax.random.fold_in(key, 2 * num_steps + 1)
