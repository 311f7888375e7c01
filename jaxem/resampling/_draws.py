"""Samples to refit to: rows drawn again, and data drawn from the model."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jaxem._errors import DataError, MissingCapabilityError
from jaxem.engine.convert import is_concrete
from jaxem.engine.programs import program
from jaxem.families import Interval
from jaxem.models import Driven, Labelled, Sequences
from jaxem.structures.sequences import steps_of

MOST_NUMBERS = 2**24  # of all samples at a time


class Units(NamedTuple):
    """What is drawn: units of one or several rows, each within its stratum.

    - `of_row`: the unit of each row, `[n]`.
    - `stratum`: the stratum of each unit, `[u]`.
    - `frequency`: how often each unit is there, `[u]`.
    - `within`: the weight of each row in its unit, `[n]`.
    - `grouped`: whether units are groups of rows; else each row is one.
    """

    of_row: Int[np.ndarray, " n"]
    stratum: Int[np.ndarray, " u"]
    frequency: Float[np.ndarray, " u"]
    within: Float[np.ndarray, " n"]
    grouped: bool


def units_of(n: int, weights: Any, strata: Any, groups: Any) -> Units:
    """Rows that count as often as their weight says, or groups of rows that are drawn together."""
    each = np.ones(n) if weights is None else np.asarray(weights, float)
    layer = np.zeros(n, np.int32) if strata is None else numbered("strata", strata, n)
    if groups is None:
        return Units(np.arange(n, dtype=np.int32), layer, each, np.ones(n), False)
    number = numbered("groups", groups, n)
    size = int(number.max()) + 1
    first = np.zeros(size, np.int32)
    first[number[::-1]] = layer[::-1]
    astray = np.flatnonzero(first[number] != layer)
    if len(astray):
        raise DataError(
            f"groups: group {np.asarray(groups)[astray[0]]} has rows in several strata; each must lie within one"
        )
    there = np.bincount(number, each, size) > 0
    return Units(number, first, there.astype(float), each, True)


def numbered(name: str, labels: Any, n: int) -> Int[np.ndarray, " n"]:
    """Labels of any kind as numbers from 0 on, in the order of the labels."""
    if not is_concrete(labels):
        raise DataError(f"{name} are traced: they are looked at on the host; pass known labels")
    found = np.asarray(labels)
    if found.shape != (n,):
        raise DataError(f"{name} must be {n} labels, one for each row, got shape {found.shape}")
    return np.unique(found, return_inverse=True)[1].astype(np.int32)


def require_several(units: Units) -> None:
    """Raise `DataError` where there is nothing to choose from."""
    if np.bincount(units.stratum, units.frequency > 0).max() < 2:
        what = "group" if units.grouped else "observation"
        raise DataError(
            f"there is one {what} to draw{' in each stratum' * bool(units.stratum.any())}, so that all samples would "
            "be the same (an observation of a model of sequences is a whole sequence); draw data with kind='parametric'"
        )


def require_whole(units: Units) -> None:
    """Raise `DataError` where the weights do not say how many rows a sample has."""
    totals = np.bincount(units.stratum, units.frequency)
    wrong = np.flatnonzero(np.abs(totals - np.round(totals)) > 1e-6 * np.maximum(totals, 1))
    if len(wrong):
        raise DataError(
            f"weights sum to {totals[wrong[0]]:.6g}, but a nonparametric sample has a whole number of rows: weights "
            "are frequencies here; pass such weights, or kind='weighted'"
        )


def weights_of(units: Units, key: PRNGKeyArray, numbers: range, exact: bool) -> Float[np.ndarray, "b n"]:
    """The weights of the rows in the samples with these numbers; those of a number depend on nothing else.

    With `exact`, counts of a draw with replacement of as many units as there are in each stratum (Efron 1979). Else
    proportions from the Dirichlet distribution with the frequencies as its parameters, in the same units (Rubin 1981).
    """
    parts = [np.flatnonzero((units.stratum == s) & (units.frequency > 0)) for s in np.unique(units.stratum)]
    out = np.empty((len(numbers), len(units.of_row)))
    for row, number in zip(out, numbers, strict=True):
        rng, drawn = generator(key, number), np.zeros(len(units.stratum))
        for part in parts:
            frequency = units.frequency[part]
            total = frequency.sum()
            if exact:
                drawn[part] = rng.multinomial(round(total), frequency / total)
            else:
                gamma = rng.standard_gamma(frequency)
                drawn[part] = gamma * (total / gamma.sum())
        row[:] = drawn[units.of_row] * units.within
    return out


def generator(key: PRNGKeyArray, number: int) -> np.random.Generator:
    """Random numbers of a sample, on the host."""
    typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = np.asarray(jax.random.key_data(key) if typed else key)
    return np.random.default_rng([*words.tolist(), number])


def blocks(total: int, numbers_each: int, most: int | None = None) -> Iterator[range]:
    """Numbers of samples in blocks of about one size, that hold no more than `MOST_NUMBERS` (or `most` samples)."""
    size = max(MOST_NUMBERS // max(numbers_each, 1), 1)
    count = -(-total // (size if most is None else min(size, most)))
    ends = [total * i // count for i in range(count + 1)]
    return map(range, ends[:-1], ends[1:])


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
