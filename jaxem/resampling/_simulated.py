"""Data drawn from a fitted model, of the shape of those that it was fitted to."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.engine.programs import program
from jaxem.families import Interval
from jaxem.models import Driven, Labelled, Sequences
from jaxem.resampling._draws import blocks
from jaxem.structures.driven import steps_of


def repeated(data: PyTree, weights: Any) -> PyTree:
    """Each row as often as its weight says; on the host."""
    if weights is None:
        return data
    each = np.asarray(weights, float)
    wrong = np.flatnonzero(each != np.round(each))
    if len(wrong):
        raise DataError(
            f"weights: row {wrong[0]} has weight {each[wrong[0]]:.6g}, but a sample from the model has whole rows: "
            "weights are frequencies here"
        )
    index = np.repeat(np.arange(len(each)), each.astype(np.int64))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], data)


def simulated(
    model: Any,
    params: PyTree,
    data: PyTree,
    weights: Any,
    key: PRNGKeyArray,
    count: int,
    name: str,
    most: int | None = None,
    share: Callable[[range], range] = lambda numbers: numbers,
) -> Iterator[tuple[range, dict[str, Any]]]:
    """Blocks of numbers, and tables like `data`, drawn from a model; a table depends on its number and the key alone.

    Each has as many rows, or sequences of the same lengths, with the same entries missing, the same covariates of
    transitions, and labels of the same rows. A weight of `k` is `k` rows. Of a block, those in its `share` are
    drawn.
    """
    require_uncensored(data, name)
    rows = jax.tree.map(jnp.asarray, repeated(data, weights))
    try:
        eqx.filter_eval_shape(table, model, params, rows, key)
    except MissingCapabilityError as error:
        raise MissingCapabilityError(f"{name} draws data from the model, but {error}") from None
    numbers = sum(leaf.size for leaf in jax.tree.leaves(rows))

    def drawn() -> Iterator[tuple[range, dict[str, Any]]]:
        for block in blocks(count, numbers, most):
            own = share(block)
            yield block, {"data": _drawn(model, params, rows, key, np.arange(own.start, own.stop, dtype=np.uint32))}

    return drawn()


def table(model: Any, params: PyTree, data: PyTree, key: PRNGKeyArray) -> PyTree:
    """Rows or sequences like those in `data`."""
    n = jax.tree.leaves(data)[0].shape[0]
    if isinstance(data, Labelled):
        rows, labels = model.sample(key, params, n)
        return Labelled(_like(rows, data.rows), jnp.where(data.labels < 0, data.labels, labels.astype(jnp.int32)))
    if "num_steps" not in inspect.signature(model.sample).parameters:
        return _like(model.sample(key, params, n)[0], data)
    sequences = steps_of(data)
    options = {"covariates": data.covariates} if isinstance(data, Driven) else {}
    values = model.sample(key, params, n, num_steps=sequences.shape[1], **options)[0]
    values = _like(values, sequences.values)
    if not isinstance(data, Driven):
        return data._replace(values=values) if isinstance(data, Sequences) else values
    rows = data.rows._replace(values=values) if isinstance(data.rows, Sequences) else values
    return Driven(rows, data.covariates)


@program(quickly=True)
def _drawn(model: Any, params: PyTree, data: PyTree, key: PRNGKeyArray, numbers: Array) -> PyTree:
    return jax.vmap(lambda i: table(model, params, data, jax.random.fold_in(key, i)))(numbers)


def _like(drawn: PyTree, rows: PyTree) -> PyTree:
    """The draws in the precision of the rows, with the same entries missing."""

    def shapes(tree: PyTree) -> Any:
        return jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]

    def one(new: Any, old: Any) -> Any:
        new = jnp.asarray(new).astype(old.dtype)
        return jnp.where(jnp.isnan(old), old, new) if jnp.issubdtype(old.dtype, jnp.floating) else new

    if shapes(drawn) != shapes(rows):
        raise MissingCapabilityError("its `sample` draws rows of another kind or shape than those in data")
    return jax.tree.map(one, drawn, rows)


def require_uncensored(data: PyTree, name: str) -> None:
    """Raise `MissingCapabilityError` where an entry is known to lie in an interval only."""
    interval = lambda node: isinstance(node, Interval)  # noqa: E731
    for node in jax.tree.leaves(data, is_leaf=interval):
        if isinstance(node, Interval) and not np.array_equal(node.lower, node.upper, equal_nan=True):
            raise MissingCapabilityError(
                f"{name} draws data from the model, which does not say what is censored; draw rows instead: "
                "kind='nonparametric' or 'weighted'"
            )
