"""What bootstrap samples are made of: weights of the rows, or data drawn from a model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from jaxem._errors import DataError
from jaxem.engine.convert import is_concrete

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
