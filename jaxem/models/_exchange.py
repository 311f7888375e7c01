"""Members of a model that can be exchanged, and the order in which those of one set of parameters match another's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree
from scipy.optimize import linear_sum_assignment

from jaxem._bound import rows_per_chunk
from jaxem.engine.door import question
from jaxem.engine.programs import program
from jaxem.families.priors import Dirichlet
from jaxem.kernels.chunks import num_rows, sum_chunks
from jaxem.kernels.linalg import matmul


def aligned(
    model: Any, params: PyTree, stack: PyTree, data: PyTree, weights: Any = None
) -> tuple[PyTree, Int[np.ndarray, "b k"] | None]:
    """Parameters stacked along a leading axis, each with its members in the order of those of `params`.

    The order is the assignment that makes the rows' posterior probabilities of members agree best: the largest sum of
    their products, which is the least squared distance between them. Only members that `alike` finds change places.
    Returns the orders as well, `None` for a model that has no members to exchange.
    """
    groups = alike(model, params, data)
    if groups is None:
        return stack, None
    found = np.nan_to_num(np.asarray(_agreement(model, params, data, stack=stack, weights=weights), float))
    orders = np.tile(np.arange(found.shape[1], dtype=np.int32), (len(found), 1))
    for group in groups:
        for order, each in zip(orders, found, strict=True):
            order[group] = np.asarray(group)[linear_sum_assignment(each[np.ix_(group, group)], maximize=True)[1]]
    if (orders == np.arange(orders.shape[1])).all():
        return stack, orders
    return _permuted(model, stack, jnp.asarray(orders)), orders


def alike(model: Any, params: PyTree, data: PyTree) -> list[list[int]] | None:
    """Groups of members that can be exchanged; `None` if there are none.

    Two members can if that leaves what is frozen, the pattern, the prior density and the density of every row as they
    are. It is looked at for pairs: of a pattern that is the same only after all states have moved on by one, for
    instance, nothing is known.
    """
    number = getattr(model, "num_members", 1)
    if number < 2 or model.permuted(params, np.arange(number, dtype=np.int32)) is None:
        return None
    groups: list[list[int]] = []
    for j in range(number):
        for group in groups:
            order = np.arange(number, dtype=np.int32)
            order[[group[0], j]] = j, group[0]
            if _keeps(model, params, order, data):
                group.append(j)
                break
        else:
            groups.append([j])
    groups = [group for group in groups if len(group) > 1]
    return groups or None


def _keeps(model: Any, params: PyTree, order: np.ndarray, data: PyTree) -> bool:
    """Whether the model is the same with its members in this order."""
    moved = model.permuted(params, order)
    pairs = zip(jax.tree.leaves(moved), jax.tree.leaves(params), jax.tree.leaves(model.trainable(params)), strict=True)
    if any(not free and not np.array_equal(new, old) for new, old, free in pairs):
        return False
    back, there = _round_trip(model, moved), model.permuted(_round_trip(model, params), order)
    answers = [(back, there), (model.log_prior(moved), model.log_prior(params))]
    answers.append((model.log_prob(moved, data), model.log_prob(params, data)))
    return all(map(_close, *map(jax.tree.leaves, zip(*answers, strict=True))))


@program(quickly=True)
def _round_trip(model: Any, params: PyTree) -> PyTree:
    return model.constrain(model.unconstrain(params))


def _close(a: Any, b: Any) -> bool:
    slack = float(jnp.finfo(jnp.result_type(a)).eps) ** 0.5
    return np.allclose(np.asarray(a), np.asarray(b), rtol=slack, atol=slack, equal_nan=True)


@program(quickly=True)
def _permuted(model: Any, stack: PyTree, orders: Array) -> PyTree:
    return jax.vmap(model.permuted)(stack, orders)


@question
def _agreement(
    model: Any, params: PyTree, data: PyTree, *, stack: PyTree, weights: Any = None
) -> Float[Array, "b k k"]:
    """Sums over rows of the products of the probabilities of members under `params` and under those of the stack."""
    n, dtype = num_rows(data), jax.tree.leaves(params)[0].dtype
    w = jnp.ones(n, dtype) if weights is None else jnp.asarray(weights, dtype)

    def shares(own: PyTree, chunk: PyTree) -> Array:
        found = model.posterior(own, chunk)
        return found.mean() if isinstance(found, Dirichlet) else found

    def one(chunk: PyTree, w: Array, index: Array) -> tuple[Array, Array]:
        reference = shares(params, chunk)
        k, lead = reference.shape[-1], reference.shape[1:-1]
        each = jnp.broadcast_to(w.reshape(-1, *(1 for _ in lead), 1), (*reference.shape[:-1], 1))
        left = jnp.where(each > 0, each * reference, 0).reshape(-1, k).T

        def product(own: PyTree) -> Array:
            return matmul(left, jnp.where(each > 0, shares(own, chunk), 0).reshape(-1, k))

        return jax.lax.map(product, stack), jnp.zeros((), dtype)

    return sum_chunks(one, data, w, rows_per_chunk(model.bound(), params, n))[0]
