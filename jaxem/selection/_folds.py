"""Cross-validation: what a model fitted to all folds but one says of the rows that were left out."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, PyTree

from jaxem._algorithm import default_algorithm
from jaxem._arguments import as_count
from jaxem._errors import DataError
from jaxem._fit import fit
from jaxem._fit_many import fit_many
from jaxem._status import status_name
from jaxem.engine.convert import as_data, as_weights
from jaxem.engine.door import for_fit, for_start, without_absent
from jaxem.engine.processes import is_shared, own_numbers
from jaxem.engine.shared import of_all_rows
from jaxem.selection._sweep import Options

_STREAM = 2**31 - 1  # of the random numbers that share out rows; those of fits have the numbers of the folds


class CrossValidated(NamedTuple):
    """Log density of an observation that was left out, its standard error, and the folds whose fit failed."""

    value: float
    standard_error: float
    failed: dict[int, str]


def folds_of(folds: Any, key: PRNGKeyArray, n: int, weights: Any) -> Int[np.ndarray, " n"]:
    """The fold of each of `n` observations, -1 for those of weight 0: at random and even, or as labels say."""
    present = np.ones(n, bool) if weights is None else np.asarray(as_weights(weights, n, None)) > 0
    labels, count = np.full(n, -1), int(present.sum())
    if np.ndim(folds) == 0:
        size = as_count("folds", folds, least=2)
        if size > count:
            raise DataError(f"folds is {size}, but there are {count} observations of positive weight: take fewer folds")
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, _STREAM), count))
        labels[np.flatnonzero(present)[order]] = np.arange(count) % size
        return labels
    given = np.asarray(folds)
    if given.shape != (n,):
        raise DataError(f"folds must be a number, or {n} labels, one for each observation, got shape {given.shape}")
    names, number = np.unique(given[present], return_inverse=True)
    if len(names) < 2:
        raise DataError(f"folds has one label, {names[0]}: nothing is left to fit to; there must be several")
    labels[present] = number
    return labels


def cross_validated(
    model: Any, data: PyTree, weights: Any, labels: Int[np.ndarray, " n"], options: Options, sound: tuple[str, ...]
) -> CrossValidated:
    """A fit without each fold, and the log density of the fold under it.

    The fits are one program, but those of rows that lie with several processes, which follow one another; `weights` are
    those of all rows. Densities are added up by weight and divided by the number of observations, those of sequences by
    that of steps. The standard error is that of a ratio of sums over folds.
    """
    size, n = int(labels.max()) + 1, len(labels)
    w = np.ones(n) if weights is None else np.asarray(as_weights(weights, n, None), float)
    data = as_data(data)
    shared = is_shared(data)
    data = for_fit(model, data, w[_own(data)]).data if shared else without_absent(data, w)
    left_in = np.where(labels[None] == np.arange(size)[:, None], 0, w[None])
    alike = model.fixed_start and not (options.algorithm or default_algorithm(model)).draws
    own = options._replace(restarts=1) if alike else options
    fits = _each(model, data, left_in, own) if shared else _together(model, data, left_in, own)
    failed = {fold: name for fold, (name, _) in enumerate(fits) if name not in sound}
    if any(name in ("not_finite", "stopped") for name in failed.values()):
        return CrossValidated(np.nan, np.nan, failed)

    def numbers(answer: Any) -> Float[np.ndarray, " n"]:
        return np.asarray(of_all_rows("answers", answer, data) if shared else answer, float)

    observed = numbers(model.observed(for_start(data)[0]))
    density, count = np.zeros(size), np.zeros(size)
    for fold, (_, params) in enumerate(fits):
        rows = labels == fold
        density[fold] = np.sum(w[rows] * numbers(model.log_prob(params, data))[rows])
        count[fold] = np.sum((w * observed)[rows])
    return CrossValidated(*of_folds(density, count), failed)


def _together(
    model: Any, data: PyTree, left_in: Float[np.ndarray, "f n"], options: Options
) -> list[tuple[str, PyTree]]:
    """The status and the parameters of a fit under each of these weights, by one program."""
    fits = fit_many(model, data, weights=left_in, over="weights", **options._asdict())
    params = [jax.tree.map(lambda leaf: leaf[fold], fits.params) for fold in range(len(left_in))]  # noqa: B023
    return list(zip(status_name(fits.status), params, strict=True))


def _each(model: Any, data: PyTree, left_in: Float[np.ndarray, "f n"], options: Options) -> list[tuple[str, PyTree]]:
    """The same for rows that lie with several processes."""
    found, numbers = [], _own(data)
    for fold, w in enumerate(left_in):
        own = options._replace(key=jax.random.fold_in(options.key, fold))
        if options.checkpoint is not None:
            own = own._replace(checkpoint=options.checkpoint._replace(name=f"{options.checkpoint.name}, {fold}"))
        fitted = fit(model, data, weights=w[numbers], throw=False, **own._asdict())
        found.append((status_name(fitted.status), fitted.params))
    return found


def _own(data: PyTree) -> Int[np.ndarray, " r"]:
    """The numbers of the rows that lie with this process."""
    return own_numbers(jax.tree.leaves(data)[0])


def of_folds(density: Float[np.ndarray, " f"], count: Float[np.ndarray, " f"]) -> tuple[float, float]:
    """The ratio of two sums over folds, and its standard error from the spread of the folds (Cochran 1977)."""
    value, folds = density.sum() / count.sum(), len(count)
    if not np.isfinite(value):
        return float(value), np.nan
    spread = np.sum((density - value * count) ** 2)
    return float(value), float(np.sqrt(folds / (folds - 1) * spread) / count.sum())
